"""What is hidden in a text by encoding or spelling, as further texts to read."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator

RUNS_LIMIT = 20
"""Encoded runs of a text that are decoded; more are no text that a person reads."""

_RUN = 20
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){12,}")
_BINARY = re.compile(r"(?:[01]{8} ?){8,}")
_SPACED = re.compile(r"\b\w(?: \w){2,}\b")
_MIXED = re.compile(r"\b(?=\w{0,20}[a-zA-Z])(?=\w{0,20}[013457])\w{3,20}\b")
_DIGITS = "013457"
_LETTERS = str.maketrans(_DIGITS, "oieast")


def views(text: str) -> Iterator[str]:
    """Yield a canonical text, then what it reads as once it is decoded.

    Base64, hexadecimal and binary runs of letters, letters set apart by spaces, and digits that
    stand for letters (l33t).
    """
    yield text
    words = text.split()  # quick: what is no candidate by its words' lengths is not searched
    decoded = "\n".join(_decoded(text, [word for word in words if len(word) >= _RUN]))
    if decoded:
        yield decoded
    spelt = text
    if sum(len(word) == 1 for word in words) > 2:
        spelt = _SPACED.sub(lambda run: run[0].replace(" ", ""), text)
    if any(digit in spelt for digit in _DIGITS) and len(_MIXED.findall(spelt)) > 2:
        spelt = spelt.translate(_LETTERS)  # fewer are numbers of orders and models
    if spelt != text:
        yield spelt


def _decoded(text: str, long: list[str]) -> Iterator[str]:
    runs: list[tuple[str, Callable[[str], bytes]]] = []
    if "00" in text:
        runs += [(run[0], _of_binary) for run in _BINARY.finditer(text)]
    for word in long:
        runs += [(run[0], bytes.fromhex) for run in _HEX.finditer(word)]
        runs += [(run[0], _of_base64) for run in _BASE64.finditer(word)]
    for run, decode in runs[:RUNS_LIMIT]:
        try:
            plain = decode(run).decode()
        except (ValueError, binascii.Error):
            continue
        if plain.replace("\n", "").isprintable():
            yield plain


def _of_binary(run: str) -> bytes:
    return bytes(int(byte, 2) for byte in re.findall("[01]{8}", run))


def _of_base64(run: str) -> bytes:
    run = run.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(run[: len(run) - (len(run) % 4 == 1)] + "=" * (-len(run) % 4))
