"""Where personal values stand in texts, and which of them are the same.

They are recognised by form (`patterns`) and by label (`labels`). All texts of one example are read
together: a value is the same wherever and however it is written. Names and street addresses have no
form to recognise; they are kept, but for names that a model has found (`person_names`).
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain

from serving.redaction import birth_dates
from serving.redaction.labels import by_label
from serving.redaction.patterns import Kind, Span, by_form

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


_WRITTEN_ONE_WAY = (Kind.EMAIL, Kind.IP, Kind.PASSWORD)
_PLACEHOLDER = re.compile(r"\[(" + "|".join(kind.name for kind in Kind) + r")(?:_\d+)?\]")


def mark(texts: Sequence[str]) -> Redacted:
    """Replace them by what they are: `[ORDER]`, or `[ORDER_1]` and `[ORDER_2]`."""
    return marked(texts, *locate(texts))


def marked(
    texts: Sequence[str], kinds: dict[str, Kind], places: Sequence[Sequence[Place]]
) -> Redacted:
    """Replace by what they are the values that `locate` found."""
    return replaced(texts, kinds, places, _names(keys_of(places), kinds, texts))


def locate(
    texts: Sequence[str],
    again: Mapping[str, tuple[str, Kind]] | None = None,
    also: Sequence[Sequence[Span]] | None = None,
) -> tuple[dict[str, Kind], list[list[Place]]]:
    """Return each value's kind by its key, and where the values stand in each text.

    Args:
        texts: Texts that are read together.
        again: Spellings of values that are known from elsewhere, with their keys and kinds.
        also: What else was found in each text.
    """
    spans = _find(texts)
    if also is not None:
        spans = [
            sorted([*found, *more], key=lambda s: (s.start, s.kind))
            for found, more in zip(spans, also, strict=True)
        ]
    kinds: dict[str, tuple[bool, Kind]] = {}
    surfaces: dict[str, str] = {}
    for text, found in zip(texts, spans, strict=True):
        for span in found:
            surface = text[span.start : span.end]
            key = key_of(surface, span.kind)
            rank = (not span.labelled and span.kind >= Kind.ORDER, span.kind)
            kinds[key] = min(kinds.get(key, rank), rank)
            surfaces[surface.casefold()] = key
    for surface, (key, kind) in (again or {}).items():
        kinds.setdefault(key, (False, kind))
        surfaces.setdefault(surface.casefold(), key)
    if not kinds:
        return {}, [[] for _ in texts]
    spelled = _again(surfaces)
    names = {key for key, (_, kind) in kinds.items() if kind is Kind.NAME}
    places = [
        _places(text, found, spelled, surfaces, names)
        for text, found in zip(texts, spans, strict=True)
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
            kind = kinds[key]
            parts += [text[end:start], spelled(text[start:stop], key, kind, names[key])]
            end = stop
            counts[kind.name.lower()] = counts.get(kind.name.lower(), 0) + 1
        out.append("".join([*parts, text[end:]]))
    return Redacted(tuple(out), dict(sorted(counts.items())))


def spelled(surface: str, key: str, kind: Kind, name: str) -> str:
    """Write a surrogate of `key` as the value was written; any other name as it is."""
    if name.startswith("[") or len(name) != len(key) or kind in _WRITTEN_ONE_WAY:
        return name
    if kind is Kind.BIRTHDATE:
        return birth_dates.spelled(surface, name)
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
            out.append(new.lower() if c.islower() else new.upper())
    return "".join(out)


def _find(texts: Sequence[str]) -> list[list[Span]]:
    """Return what is recognised by form or label in each text; spans may overlap.

    The texts are read as one, a line each or more, so that an answer is known by its question.
    """
    joined = "\n".join(texts)
    begins = list(accumulate((len(text) + 1 for text in texts), initial=0))
    found: list[list[Span]] = [[] for _ in texts]
    for span in chain(by_form(joined), by_label(joined)):
        index = bisect_right(begins, span.start) - 1
        begin = begins[index]
        if span.end - begin <= len(texts[index]):
            found[index].append(replace(span, start=span.start - begin, end=span.end - begin))
    return [sorted(spans, key=lambda s: (s.start, s.kind)) for spans in found]


def key_of(surface: str, kind: Kind) -> str:
    """Return what stays the same when a value of a kind is written in another way."""
    if kind is Kind.PASSWORD:
        return surface
    if kind in (Kind.EMAIL, Kind.IP):
        return surface.casefold()
    if kind is Kind.BIRTHDATE:
        return birth_dates.key_of(surface) or surface
    compact = "".join(c for c in surface if c.isalnum()).upper()
    if kind is Kind.NAME:
        return compact.capitalize()
    national = len(compact) == 11 and compact.startswith("1") and kind is Kind.PHONE
    return compact[1:] if national else compact


def _again(surfaces: dict[str, str]) -> re.Pattern[str]:
    """Match every known spelling, longest first, as whole words: also where no label stands."""
    alternatives = "|".join(re.escape(s) for s in sorted(surfaces, key=lambda s: (-len(s), s)))
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE)


def _places(
    text: str,
    found: list[Span],
    again: re.Pattern[str],
    surfaces: dict[str, str],
    names: Collection[str],
) -> list[tuple[int, int, str]]:
    """Return (start, end, key) of all that is replaced: disjoint, in order, wider spans first."""
    spans = [(s.start, s.end, key_of(text[s.start : s.end], s.kind)) for s in found]
    for m in again.finditer(text):
        key = surfaces[m[0].casefold()]
        if key not in names or m[0][0].isupper():  # Will is a name again, will is not
            spans.append((m.start(), m.end(), key))
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
