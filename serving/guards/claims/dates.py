"""Dates and clock times, in figures and in words, and days relative to today.

Not dateutil's parser: it guesses where a text is ambiguous and gives no places. Here 10/03 is
either day, and 5:30 either half of the day, and each of them supports the claim.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from serving.guards.claims.claim import Claim, Meaning
from serving.guards.claims.quantities import ORDINALS, number_at
from serving.guards.claims.tokens import Token

_MONTH_NAMES = (
    "january february march april may june july august september october november december"
)
_DAY_NAMES = "monday tuesday wednesday thursday friday saturday sunday"
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES.split(), 1)}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"sept": 9}
_DAYS = {name: number for number, name in enumerate(_DAY_NAMES.split())}
_DAYS |= {name[:3]: number for name, number in _DAYS.items()} | {"tues": 1, "thur": 3, "thurs": 3}
_DAYS |= {f"{name}s": number for name, number in _DAYS.items() if len(name) > 5}
_ALSO_WORDS = frozenset("may march mar sun sat wed mon dec jan".split())
_OF_TIME = frozenset("in of by since until till from on next last this early late before".split())
_DAY_PLACES = {"yesterday": -1, "tomorrow": 1, "tmrw": 1}
_RELATIVE = frozenset("week weekend month year monday".split())
BEGIN = frozenset({*_MONTHS, *_DAYS, *_DAY_PLACES, *ORDINALS}) | frozenset(
    "next last day noon midday midnight half quarter".split()
)
"""Words that a date or time may begin with, beside numbers."""
_LONGEST_MONTH, _HALF_DAY, _DAY_HOURS = 31, 12, 24


def when_at(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return the date or clock time that begins at a piece, and the place of the piece after."""
    token = tokens[at]
    match token.kind:
        case "date":
            return _in_figures(token, at)
        case "clock":
            return _clock(token, at)
        case "ordinal" | "number":
            return _day_first(tokens, at) or (_hour_word(tokens, at))
        case "word":
            return _relative(tokens, at) or _in_words(tokens, at) or _hour_word(tokens, at)
    return None


def _in_figures(token: Token, at: int) -> tuple[Claim, int]:
    parts = [int(part) for part in token.text.replace("/", "-").replace(".", "-").split("-")]
    span = (token.start, token.end)
    year: int | None = None
    if len(parts) == 3:
        year = parts.pop(0) if parts[0] > 99 else parts.pop()
        year += 2000 if year < 100 else 0
    days = [(m, d) for m, d in (parts, parts[::-1]) if 0 < m <= 12 and 0 < d <= _LONGEST_MONTH]
    if not days:
        return Claim("number", span, frozenset({("figures", token.text)})), at + 1
    return _date(span, days, year), at + 1


def _date(span: tuple[int, int], days: Iterable[tuple[int, int]], year: int | None) -> Claim:
    """A date without a year is supported by any year's; one with a year by it or by none."""
    meanings: set[Meaning] = set()
    given: set[Meaning] = set()
    for month, day in days:
        given |= {("day", month, day), ("month", month), ("day of month", day)}
        given |= {("number", Decimal(day))}
        if year is None:
            meanings.add(("day", month, day))
            given.add(("undated", month, day))
        else:
            meanings |= {("date", year, month, day), ("undated", month, day)}
            given |= {("date", year, month, day), ("number", Decimal(year))}
    return Claim("date", span, frozenset(meanings), frozenset(given))


def _clock(token: Token, at: int) -> tuple[Claim, int]:
    figures = token.lower.rstrip("apm. ").replace(".", ":").split(":")
    hour, minute = int(figures[0]), int(figures[1]) if len(figures) > 1 else 0
    half = token.lower[len(token.lower.rstrip("apm. ")) :].strip()[:1]
    return _time((token.start, token.end), hour, minute, half), at + 1


def _time(span: tuple[int, int], hour: int, minute: int, half: str) -> Claim:
    """A time; `half` is "a", "p" or "" where it is not said."""
    hours = {hour}
    if half and hour <= _HALF_DAY:
        hours = {hour % _HALF_DAY + (_HALF_DAY if half == "p" else 0)}
    elif 0 < hour <= _HALF_DAY:
        hours = {hour % _HALF_DAY, hour % _HALF_DAY + _HALF_DAY}
    meanings: set[Meaning] = {("time", h, minute) for h in hours}
    given = meanings | {("number", Decimal(h)) for h in {hour, *hours}}
    if minute == 0:
        meanings.add(("bare", Decimal(hour)))
    return Claim("time", span, frozenset(meanings), frozenset(given))


def _hour_word(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return "noon", "five pm", "5 o'clock", "half past five" as a time."""
    first = tokens[at]
    if first.lower in ("noon", "midday", "midnight"):
        hour = 0 if first.lower == "midnight" else _HALF_DAY
        half = "a" if hour == 0 else "p"
        return _time((first.start, first.end), hour, 0, half), at + 1
    if first.lower in ("half", "quarter") and at + 2 < len(tokens):
        past = tokens[at + 1].lower
        found = number_at(tokens, at + 2)
        if past not in ("past", "to", "after") or found is None or not 0 < found[0] <= _HALF_DAY:
            return None
        minute = 30 if first.lower == "half" else 45 if past == "to" else 15
        hour = (int(found[0]) - (past == "to")) or _HALF_DAY
        return _time((first.start, tokens[found[1] - 1].end), hour, minute, ""), found[1]
    found = number_at(tokens, at)
    if found is None or found[1] >= len(tokens) or not 0 <= found[0] <= _DAY_HOURS:
        return None
    last = tokens[found[1]]
    if found[0] % 1 or last.lower not in ("am", "pm", "o'clock") or last.gap != " ":
        return None
    half = last.lower[0] if last.lower != "o'clock" else ""
    return _time((first.start, last.end), int(found[0]), 0, half), found[1] + 1


def _month(tokens: Sequence[Token], at: int) -> int | None:
    """Return the month that a piece names; May and March only where they cannot be verbs."""
    if at >= len(tokens) or tokens[at].kind != "word":
        return None
    token = tokens[at]
    if token.lower in _ALSO_WORDS and not token.text[0].isupper():
        return None
    return _MONTHS.get(token.lower)


def _day(token: Token) -> int | None:
    """Return the day of a month that a piece may be."""
    if token.kind == "word":
        return ORDINALS.get(token.lower)
    if token.kind not in ("ordinal", "number"):
        return None
    figures = token.text.rstrip("stndrhSTNDRH")
    return int(figures) if len(figures) < 3 and "." not in figures and int(figures) <= 31 else None


def _year(tokens: Sequence[Token], at: int) -> int | None:
    if at < len(tokens) and tokens[at].kind == "number" and len(tokens[at].text) == 4:
        text = tokens[at].text
        if text.isdecimal() and text[:2] in ("19", "20") and tokens[at].gap in (" ", ", "):
            return int(text)
    return None


def _day_first(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return "3 October", "3rd of Oct 2026"; an ordinal alone is a day of some month."""
    day = _day(tokens[at])
    start = tokens[at].start
    if day:
        after = at + 1
        if after < len(tokens) and tokens[after].lower == "of":
            after += 1
        month = _month(tokens, after)
        if month is not None:
            year = _year(tokens, after + 1)
            after += 1 if year is None else 2
            return _date((start, tokens[after - 1].end), [(month, day)], year), after
    if tokens[at].kind != "ordinal":
        return None
    number = Decimal(tokens[at].text.rstrip("stndrhSTNDRH"))
    meanings: frozenset[Meaning] = frozenset({("day of month", int(number)), ("bare", number)})
    given: set[Meaning] = {("day of month", int(number)), ("number", number)}
    given |= {("day alone", int(number)), ("bare", number)}
    return Claim("date", (start, tokens[at].end), meanings, frozenset(given)), at + 1


def _in_words(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return "Oct 3rd, 2026", "October", "Tuesday"."""
    token = tokens[at]
    span = (token.start, token.end)
    weekday = _DAYS.get(token.lower)
    if weekday is not None and not (
        token.lower in _ALSO_WORDS and (at == 0 or not token.text[0].isupper())
    ):
        return Claim("date", span, frozenset({("weekday", weekday)})), at + 1
    month = _month(tokens, at)
    if month is None:
        return None
    after = at + 1
    if after < len(tokens) and tokens[after].lower == "the":
        after += 1
    day = _day(tokens[after]) if after < len(tokens) else None
    if day and tokens[after].gap in (" ", ". ", "-"):
        year = _year(tokens, after + 1)
        after += 1 if year is None else 2
        return _date((token.start, tokens[after - 1].end), [(month, day)], year), after
    year = _year(tokens, at + 1)
    placed = year is not None or (at > 0 and tokens[at - 1].lower in _OF_TIME)
    if token.lower in _ALSO_WORDS and not placed:
        return None
    return Claim("date", span, frozenset({("month", month)})), at + 1


def _relative(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return "tomorrow", "the day after tomorrow", "next week" as a date."""
    token = tokens[at]
    words = [t.lower for t in tokens[at : at + 3]]
    if words[:1] == ["day"] and words[1:2] in (["after"], ["before"]):
        place = {"tomorrow": 2, "yesterday": -2}.get(words[-1])
        if place is not None:
            said: frozenset[Meaning] = frozenset({("from today", place)})
            return Claim("date", (token.start, tokens[at + 2].end), said), at + 3
    if token.lower in _DAY_PLACES:
        said = frozenset({("from today", _DAY_PLACES[token.lower])})
        return Claim("date", (token.start, token.end), said), at + 1
    if token.lower in ("next", "last") and words[1:2] and words[1] in _RELATIVE:
        said = frozenset({("relative", " ".join(words[:2]))})
        return Claim("date", (token.start, tokens[at + 1].end), said), at + 2
    return None
