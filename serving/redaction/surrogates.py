"""Personal numbers out of a text before it enters a dataset.

They become surrogates: other values of the same shape, so that what is learned and judged looks
like what is served, where nobody writes `[ORDER]` (Carrell et al., "Hiding in plain sight", JAMIA
20, 2013). A value has the same surrogate in all texts of one example, so a model that must repeat
an order number from the conversation learns to copy it, not to invent one. A surrogate is drawn
from the text around the values, never from a value, so nothing leads back from it.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from serving.redaction import birth_dates
from serving.redaction.patterns import Kind
from serving.redaction.recognition import Place, Redacted, keys_of, locate, marked, replaced

VERSION = 3
"""Raised with every change that makes other texts from the same ones."""

_ATTEMPTS = 100
_AT = re.compile(r"\s*(?:@|[\[({]|\bat\b)", re.IGNORECASE)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_VOWELS, _CONSONANTS = "AEIOU", "BCDFGHJKLMNPRSTVWZ"
_HEXADECIMAL = re.compile(r"[0-9A-F]{12}")
_NETS = ("192.0.2", "198.51.100", "203.0.113")


def redact(texts: Sequence[str]) -> Redacted:
    """Replace the personal numbers in texts that belong together by surrogates.

    Args:
        texts: All texts of one example: its messages, the target, the shown output.
    """
    kinds, places = locate(texts)
    if not kinds:
        return Redacted(tuple(texts), {})
    return replaced(texts, kinds, places, chosen(texts, kinds, places))


def chosen(
    texts: Sequence[str], kinds: dict[str, Kind], places: Sequence[Sequence[Place]]
) -> dict[str, str]:
    """Return a surrogate for each value that `locate` found, by the value's key."""
    return _surrogates(keys_of(places), kinds, marked(texts, kinds, places).texts)


def _surrogates(
    keys: Sequence[str], kinds: dict[str, Kind], around: Sequence[str]
) -> dict[str, str]:
    """Draw a value of its shape for each key, none of which is another value of these texts."""
    seed = "\0".join(around).encode("utf-8", "replace")
    made: dict[str, str] = {}
    for number, key in enumerate(keys):
        attempt, drawn = 0, key
        while drawn in kinds or drawn in made.values():
            digest = hashlib.shake_256(b"%d %d " % (number, attempt) + seed)
            drawn = draw(key, kinds[key], digest.digest(len(key) + 3))
            attempt += 1
            if attempt > _ATTEMPTS:  # a value so short that all others are taken
                break
        made[key] = drawn
    return made


def draw(key: str, kind: Kind, chance: bytes) -> str:
    """Return a value of this one's kind and shape that nobody has, where there are such.

    Args:
        key: The value's key.
        kind: What it is.
        chance: Random bytes, three more than the key has characters.
    """
    if kind is Kind.BIRTHDATE and _ISO_DATE.fullmatch(key):
        return birth_dates.draw(key, chance)
    if kind is Kind.IP and ":" in key:  # RFC 3849, for documentation
        return f"2001:db8::{1 + chance[0]:x}:{1 + chance[1]:x}"
    if kind is Kind.IP:  # RFC 5737
        return f"{_NETS[chance[0] % 3]}.{1 + chance[1] % 254}"
    if kind is Kind.NAME:  # of as many letters that can be spoken, and of no list: nobody's
        return "".join(map(_spoken_like, key, chance)).capitalize()
    if kind is Kind.DEVICE and _HEXADECIMAL.fullmatch(key):  # a MAC address
        return "".join(
            letter if (letter := _like(c, n)).isdigit() else "ABCDEF"[n % 6]
            for c, n in zip(key, chance, strict=False)
        )
    drawn = "".join(map(_like, key, chance))
    if kind is Kind.EMAIL:
        local = _AT.split(key)[0]
        return f"{drawn[: len(local)]}@example.com"
    return drawn


def _spoken_like(letter: str, chance: int) -> str:
    """Return a capital vowel for a vowel, with or without an accent, else a capital consonant."""
    base = unicodedata.normalize("NFD", letter)[0].upper()
    letters = _VOWELS if base in _VOWELS else _CONSONANTS
    return letters[chance % len(letters)]


def _like(character: str, chance: int) -> str:
    """Return another character of the same class; a number's leading zero or not stays."""
    if character.isdigit():
        return character if character == "0" else str(1 + chance % 9)
    if character.isalpha():
        letter = chr(ord("A") + chance % 26)
        return letter if character.isupper() else letter.lower()
    return character
