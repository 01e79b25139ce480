"""Personal values out of what is stored: the same surrogate for a value in all of a conversation.

A surrogate is a keyed function of the value (SHAKE-256 over a conversation's key and the value), so
no table of values is needed: turns that are stored hours apart agree, and two conversations do not.
Without the key nothing leads back; with it, a short value can be found by trying all, so the key is
as private as the values.

What was recognised once must be recognised again where no label stands beside it ("4471 has been
sent"), and a surrogate must not be replaced by another. So each text is redacted with `known`, the
keyed digests of the values and surrogates that the conversation's stored texts have had.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.redaction import birth_dates
from serving.redaction.patterns import Kind, digits
from serving.redaction.person_names import Recogniser
from serving.redaction.recognition import key_of, keys_of, locate, replaced
from serving.redaction.surrogates import draw

VERSION = 1
"""Raised with every change that stores other texts for the same ones."""

SURROGATE = ""
"""In place of a kind: the digest is of a surrogate."""

Known = Mapping[str, str]
"""Digest of a value to its kind's name, or of a surrogate to `SURROGATE`."""

_ATTEMPTS = 100
_DIGEST_CHARACTERS = 24
_GROUPS = 9
"""Groups that a value may be written in: an IBAN of 34 characters in fours."""
_TOKEN = re.compile(r"\S+")
_GROUP = re.compile(r"[^\W_]+")
_BETWEEN = re.compile(r"[ ./()+:-]{0,3}")
_EDGES = ".,;:?!()[]{}<>\"'“”„`»«"
_BLANK = "\ue000"
"""Stands for a character of a surrogate while values are looked for; no pattern takes it."""


@dataclass(frozen=True)
class Stored:
    """Texts as they may be stored.

    Args:
        texts: The texts given, in order.
        known: What was known before, and what these texts add.
    """

    texts: tuple[str, ...]
    known: dict[str, str]


def conversation_key(key: bytes, conversation: str) -> bytes:
    """Return the key of a conversation, 32 bytes: HMAC-SHA256 of its id under a deployment's."""
    return hmac.digest(key, conversation.encode("utf-8", "replace"), "sha256")


def redact(
    texts: Sequence[str],
    key: bytes,
    known: Known | None = None,
    recognise: Recogniser | None = None,
) -> Stored:
    """Replace the personal values in texts of one conversation by its surrogates.

    Args:
        texts: Texts that are read together, in the order in which people would.
        key: The conversation's key.
        known: What its earlier texts had.
        recognise: Finds people's names, too.
    """
    learned = dict(known or {})
    made, again = _seen_before(texts, key, learned)
    blanked = [_blank(text, spans) for text, spans in zip(texts, made, strict=True)]
    kinds, places = locate(blanked, again, None if recognise is None else recognise(blanked))
    places = [
        [place for place in found if any(c.isalnum() for c in text[place[0] : place[1]])]
        for text, found in zip(blanked, places, strict=True)
    ]
    names = {}
    for value in keys_of(places):
        names[value] = surrogate(value, kinds[value], key)
        learned[_digest(key, value)] = kinds[value].name
        learned[_digest(key, names[value])] = SURROGATE
    return Stored(replaced(texts, kinds, places, names).texts, learned)


def surrogate(value: str, kind: Kind, key: bytes) -> str:
    """Return a conversation's surrogate of a value, which is never the value itself."""
    seed = key + value.encode("utf-8", "replace")
    for attempt in range(_ATTEMPTS):
        chance = hashlib.shake_256(bytes([attempt]) + seed).digest(len(value) + 3)
        if (drawn := draw(value, kind, chance)) != value:
            return drawn
    return "".join(str(1 + n % 9) for n in chance[: len(value)])  # "0000" has no other of its shape


def _digest(key: bytes, value: str) -> str:
    data = value.encode("utf-8", "replace")
    return hashlib.blake2b(data, key=key).hexdigest()[:_DIGEST_CHARACTERS]


def _seen_before(
    texts: Sequence[str], key: bytes, known: Known
) -> tuple[list[list[tuple[int, int]]], dict[str, tuple[str, Kind]]]:
    """Return where surrogates stand in each text, and the spellings of values with key and kind."""
    made: list[list[tuple[int, int]]] = [[] for _ in texts]
    again: dict[str, tuple[str, Kind]] = {}
    if not known:
        return made, again
    for text, spans in zip(texts, made, strict=True):
        for start, end in _windows(text):
            for value in _readings(text[start:end]):
                kind = known.get(_digest(key, value))
                if kind == SURROGATE:
                    spans.append((start, end))
                elif kind is not None:
                    again[text[start:end]] = value, Kind[kind]
    return made, again


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Yield what may be a value: words, rows of groups with a digit, and dates."""
    for m in _TOKEN.finditer(text):
        word = m[0]
        end = m.end() - (len(word) - len(word.rstrip(_EDGES)))
        yield m.start() + len(word) - len(word.lstrip(_EDGES)), max(end, m.start())
    groups = [m.span() for m in _GROUP.finditer(text)]
    for first, (start, _) in enumerate(groups):
        for last in range(first, min(first + _GROUPS, len(groups))):
            if last > first and not _BETWEEN.fullmatch(text, groups[last - 1][1], groups[last][0]):
                break
            if last == first or digits(text[start : groups[last][1]]):
                yield start, groups[last][1]
    for m in birth_dates.DATE.finditer(text):
        yield m.span()


def _readings(surface: str) -> set[str]:
    """Return the keys that a text would have, whichever kind of value it was."""
    if not surface:
        return set()
    kinds = [Kind.PASSWORD, Kind.EMAIL, Kind.BIRTHDATE, Kind.PHONE, Kind.ORDER]
    if surface[0].isupper():  # a surrogate that reads Is must not hide the word
        kinds.append(Kind.NAME)
    return {key_of(surface, kind) for kind in kinds}


def _blank(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in spans:
        text = text[:start] + _BLANK * (end - start) + text[end:]
    return text
