"""Where personal numbers stand in texts, and which of them are the same.

E-mail addresses, phone, card, account and order numbers are recognised by form (e-mail, Luhn, IBAN
check digits, phone formats) and by label ("order number", "account:"). All texts of one example are
read together: a value is the same wherever and however it is written. Names and street addresses
have no form to recognise; they are kept.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What a value is; where two readings of it disagree, the smaller number wins."""

    EMAIL = 0
    CARD = 1
    PHONE = 2
    ORDER = 3
    ACCOUNT = 4


Place = tuple[int, int, str]
"""Where a value stands in a text, from and to, and its key: the same for all its spellings."""


@dataclass(frozen=True)
class Redacted:
    """Texts without personal numbers.

    Args:
        texts: The texts given, in order.
        counts: Replacements by kind, lower-case names; kinds that did not occur are absent.
    """

    texts: tuple[str, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    kind: Kind
    labelled: bool = False


# A lookbehind pins each pattern to the start of a token, so that no long token is scanned from
# every one of its characters.
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]+@(?:[\w-]+\.)+[^\W\d_]{2,}")
_DIGIT_RUN = re.compile(r"(?<![\d.,])\d(?:[ -]?\d){12,}(?![\d])")
_PHONES = (
    re.compile(r"(?<![\w+])\+\d{1,3}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?!\d)"),
    re.compile(r"(?<![\w$€£.,-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"),
    re.compile(r"(?<![\w$€£.,-])0\d{1,4}[ /-]\d{3,4}[ -]?\d{3,4}(?![\w-])"),
    re.compile(r"(?<![\w$€£.,-])\d{3}-\d{4}(?![\w-])"),
)
_LABELLED_PHONE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|fax)\b[^\d\n\[\]]{0,20}"
    r"(?P<value>(?:\d[ ().-]{0,2}){6,14}\d)(?!\d)",
    re.IGNORECASE,
)
_MARK = r"(?P<mark>\s*(?:number|num\b|no\b\.?|nr\b\.?|id\b|code|#)|(?=\s*[:#]))?"
_LINK = r"\s*(?:\b(?:is|was)\b)?\s*[:=#]?\s*#?\s*"
_VALUE = r"(?P<value>[A-Z0-9]+(?:-[A-Z0-9]+)*)"
_LABELS = (
    (
        Kind.ORDER,
        r"order|purchase|invoice|shipment|tracking|confirmation|reference|ref|ticket|case|booking",
    ),
    (Kind.ACCOUNT, r"account|acct|customer|member|membership|policy|contract|client|routing"),
)
_LABELLED = tuple(
    (kind, re.compile(rf"\b(?:{words})\b{_MARK}{_LINK}{_VALUE}", re.IGNORECASE))
    for kind, words in _LABELS
)
_WORD_FOLLOWS = re.compile(r"\s*\w")
_HASHED = re.compile(rf"(?<![\w&])#\s?{_VALUE}", re.IGNORECASE)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_LONG_NUMBER = re.compile(r"(?<![\w$€£.,-])\d{3,}(?:[ -]\d{3,})*(?![\w]|[.,]\d)")
_DATE = re.compile(r"\d{4}-\d{1,2}(?:-\d{1,2})?|\d{1,2}-\d{1,2}-\d{2,4}")
_PLACEHOLDER = re.compile(r"\[(" + "|".join(kind.name for kind in Kind) + r")(?:_\d+)?\]")


def mark(texts: Sequence[str]) -> Redacted:
    """Replace them by what they are: `[ORDER]`, or `[ORDER_1]` and `[ORDER_2]`."""
    kinds, places = locate(texts)
    return replaced(texts, kinds, places, _names(keys_of(places), kinds, texts))


def locate(texts: Sequence[str]) -> tuple[dict[str, Kind], list[list[Place]]]:
    """Return each value's kind by its key, and where the values stand in each text."""
    spans = [sorted(_find(text), key=lambda s: (s.start, s.kind)) for text in texts]
    kinds: dict[str, tuple[bool, Kind]] = {}
    surfaces: dict[str, str] = {}
    for text, found in zip(texts, spans, strict=True):
        for span in found:
            surface = text[span.start : span.end]
            key = _key(surface, span.kind)
            rank = (not span.labelled and span.kind >= Kind.ORDER, span.kind)
            kinds[key] = min(kinds.get(key, rank), rank)
            surfaces[surface.casefold()] = key
    if not kinds:
        return {}, [[] for _ in texts]
    again = _again(surfaces)
    places = [
        _places(text, found, again, surfaces) for text, found in zip(texts, spans, strict=True)
    ]
    return {key: kind for key, (_, kind) in kinds.items()}, places


def keys_of(places: Sequence[Sequence[Place]]) -> list[str]:
    """Return the values' keys in order of appearance, each once."""
    return list(dict.fromkeys(key for found in places for _, _, key in found))


def replaced(
    texts: Sequence[str],
    kinds: dict[str, Kind],
    places: Sequence[Sequence[Place]],
    names: dict[str, str],
) -> Redacted:
    """Put names in the values' places; one as long as its key is written as the value was."""
    counts: dict[str, int] = {}
    out = []
    for text, found in zip(texts, places, strict=True):
        parts: list[str] = []
        end = 0
        for start, stop, key in found:
            parts += [text[end:start], _spelled(text[start:stop], key, names[key])]
            end = stop
            kind = kinds[key].name.lower()
            counts[kind] = counts.get(kind, 0) + 1
        out.append("".join([*parts, text[end:]]))
    return Redacted(tuple(out), dict(sorted(counts.items())))


def _spelled(surface: str, key: str, name: str) -> str:
    """Write a surrogate of `key` as the value was written; any other name as it is."""
    if "@" in key or len(name) != len(key) or name.startswith("["):
        return name
    written = sum(c.isalnum() for c in surface)
    rest = iter(name)
    out = []
    for c in surface:
        if not c.isalnum():
            out.append(c)
        elif written > len(key):  # a national number's 1
            out.append(c)
            written -= 1
        else:
            new = next(rest, "")
            out.append(new.lower() if c.islower() else new)
    return "".join(out)


def _find(text: str) -> Iterator[_Span]:
    """Yield what is recognised by form or label; spans may overlap."""
    for m in _EMAIL.finditer(text):
        yield _Span(m.start(), m.end(), Kind.EMAIL)
    for m in _DIGIT_RUN.finditer(text):
        yield from _cards(m)
    for pattern in _PHONES:
        for m in pattern.finditer(text):
            if 7 <= _digits(m[0]) <= 15:
                yield _Span(m.start(), m.end(), Kind.PHONE)
    for m in _LABELLED_PHONE.finditer(text):
        yield _Span(*m.span("value"), Kind.PHONE)
    for kind, labelled in _LABELLED:
        for m in labelled.finditer(text):
            # "order 4471." names one, "order 1500 units" does not
            ends = _WORD_FOLLOWS.match(text, m.end()) is None
            if _is_identifier(m["value"], marked=ends or m["mark"] is not None):
                yield _Span(*m.span("value"), kind, labelled=True)
    for m in _HASHED.finditer(text):
        if _is_identifier(m["value"], marked=False) or (m["value"].isdigit() and len(m[0]) > 4):
            yield _Span(*m.span("value"), Kind.ORDER)
    for m in _IBAN.finditer(text):
        if _iban(m[0]):
            yield _Span(m.start(), m.end(), Kind.ACCOUNT)
    for m in _LONG_NUMBER.finditer(text):
        if _digits(m[0]) >= 9:
            yield _Span(m.start(), m.end(), Kind.ACCOUNT)


def _cards(run: re.Match[str]) -> Iterator[_Span]:
    """Yield card numbers within a run of digits, as when an expiry date follows the number."""
    groups = [(m.start(), m.end()) for m in re.finditer(r"\d+", run[0])]
    first = 0
    while first < len(groups):
        digits, match = "", None
        for last in range(first, len(groups)):
            digits += run[0][slice(*groups[last])]
            if len(digits) > 19:
                break
            if len(digits) >= 13 and _luhn(digits):
                match = last
        if match is None:
            first += 1
            continue
        yield _Span(run.start() + groups[first][0], run.start() + groups[match][1], Kind.CARD)
        first = match + 1


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _iban(value: str) -> bool:
    """ISO 13616: the rearranged number leaves 1 modulo 97."""
    compact = value.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_identifier(value: str, *, marked: bool) -> bool:
    """Say whether the word after a label is a number rather than prose, a date or an amount."""
    digits = _digits(value)
    if _DATE.fullmatch(value) or digits == 0:
        return False
    if marked:
        return len(value) >= 4 and (digits >= 3 or len(value) >= 6)
    return len(value) >= 5 and digits >= 3


def _digits(value: str) -> int:
    return sum(c.isdigit() for c in value)


def _key(surface: str, kind: Kind) -> str:
    """Return what stays the same when a value is written in another way."""
    if kind is Kind.EMAIL:
        return surface.casefold()
    compact = "".join(c for c in surface if c.isalnum()).upper()
    national = len(compact) == 11 and compact.startswith("1") and kind is Kind.PHONE
    return compact[1:] if national else compact


def _again(surfaces: dict[str, str]) -> re.Pattern[str]:
    """Match every known spelling, longest first, as whole words: also where no label stands."""
    alternatives = "|".join(re.escape(s) for s in sorted(surfaces, key=lambda s: (-len(s), s)))
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE)


def _places(
    text: str, found: list[_Span], again: re.Pattern[str], surfaces: dict[str, str]
) -> list[tuple[int, int, str]]:
    """Return (start, end, key) of all that is replaced: disjoint, in order, wider spans first."""
    spans = [(s.start, s.end, _key(text[s.start : s.end], s.kind)) for s in found]
    spans += [(m.start(), m.end(), surfaces[m[0].casefold()]) for m in again.finditer(text)]
    places: list[tuple[int, int, str]] = []
    taken = bytearray(len(text))
    for start, end, key in sorted(spans, key=lambda s: (-(s[1] - s[0]), s[0])):
        if taken.find(1, start, end) < 0:
            taken[start:end] = b"\1" * (end - start)
            places.append((start, end, key))
    return sorted(places)


def _names(keys: Sequence[str], kinds: dict[str, Kind], texts: Sequence[str]) -> dict[str, str]:
    """Choose a placeholder for each key, numbered where a kind has several values."""
    taken = {m[0] for text in texts for m in _PLACEHOLDER.finditer(text)}
    names: dict[str, str] = {}
    for kind in Kind:
        values = [key for key in keys if kinds[key] is kind]
        if len(values) == 1 and not any(name.startswith(f"[{kind.name}") for name in taken):
            names[values[0]] = f"[{kind.name}]"
            continue
        number = 0
        for key in values:
            number += 1
            while f"[{kind.name}_{number}]" in taken:
                number += 1
            names[key] = f"[{kind.name}_{number}]"
    return names
