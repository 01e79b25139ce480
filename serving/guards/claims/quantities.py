"""Numbers, in figures and in words, amounts of money, shares and lengths of time.

Our own: of the libraries that read number words, none is alive and keeps the places.
"""

from collections.abc import Sequence
from decimal import Decimal

from serving.guards.claims.claim import Claim, Meaning
from serving.guards.claims.tokens import Token

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_UNITS = {word: number for number, word in enumerate(_SMALL.split())}
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), 2
    )
}
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
ORDINALS = {word: number for number, word in enumerate(_ORDINALS.split(), 1)}
_TIMES = {"k": 1000, "thousand": 1000, "million": 10**6, "billion": 10**9}
_CURRENCIES = {
    **dict.fromkeys(("$", "dollar", "dollars", "buck", "bucks", "usd"), "dollar"),
    **dict.fromkeys(("\u20ac", "euro", "euros", "eur"), "euro"),
    **dict.fromkeys(("\u00a3", "pound", "pounds", "quid", "gbp"), "pound"),
    **dict.fromkeys(("\u00a5", "yen", "jpy"), "yen"),
    **dict.fromkeys(("%", "percent", "pct"), "percent"),
}
_BEFORE = frozenset("$ \u20ac \u00a3 \u00a5 usd eur gbp jpy".split())
_MINUTES = {
    **dict.fromkeys(("minute", "minutes", "min", "mins"), Decimal(1)),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), Decimal(60)),
    **dict.fromkeys(("day", "days", "night", "nights"), Decimal(60 * 24)),
    **dict.fromkeys(("week", "weeks"), Decimal(60 * 24 * 7)),
}
_MONTHS = {
    **dict.fromkeys(("month", "months"), Decimal(1)),
    **dict.fromkeys(("year", "years"), Decimal(12)),
}
_WORKING = frozenset(("business", "working", "calendar", "full"))
_WITHIN = frozenset("in within after for takes take about every".split())
_POINTING, _FEW = frozenset("the those these both".split()), 3  # "those two" counts what was named
BEGIN = frozenset({*_UNITS, *_TENS, *ORDINALS, *_TIMES, *_BEFORE, "hundred", "a", "an", "half"})
"""Words that a quantity may begin with, up to a hyphen."""
DIGITS = 15
"""A longer run of figures is no quantity, but names something."""


def number_at(tokens: Sequence[Token], at: int) -> tuple[Decimal, int] | None:
    """Return the number that begins at a piece, and the place of the piece after it."""
    if tokens[at].kind == "number":
        figures = tokens[at].text.replace(",", "")
        if len(figures) > DIGITS:
            return None
        value, after = Decimal(figures), at + 1
        while after < len(tokens) and tokens[after].gap in ("", " "):
            times = _TIMES.get(tokens[after].lower)
            if times is None or value > 10**DIGITS:
                break
            value, after = value * times, after + 1
        return value, after
    return _words_at(tokens, at) if tokens[at].kind == "word" else None


def _words_at(tokens: Sequence[Token], at: int) -> tuple[Decimal, int] | None:
    total, current, after, found = 0, 0, at, False
    while after < len(tokens) and tokens[after].kind == "word" and total < 10**DIGITS:
        token = tokens[after]
        if after > at and token.gap not in (" ", "-"):
            break
        if token.lower in ("a", "and") and not _joins(tokens, after, found):
            break
        added = None if token.lower in ("a", "and") else _add(token.lower.split("-"), current)
        if added is None and token.lower not in ("a", "and"):
            break
        if added is not None:
            current, times = added
            found = True
            if times:
                total, current = total + max(current, 1) * times, 0
        after += 1
    return (Decimal(total + current), after) if found else None


def _joins(tokens: Sequence[Token], at: int, found: bool) -> bool:
    """Say whether "a" or "and" is part of a number: a hundred, two hundred and five."""
    if at + 1 == len(tokens) or tokens[at + 1].gap != " ":
        return False
    after = tokens[at + 1].lower
    if tokens[at].lower == "a":
        return not found and after in ("hundred", "thousand", "million")
    return (
        found
        and tokens[at - 1].lower in ("hundred", "thousand")
        and (after.split("-")[0] in _UNITS or after.split("-")[0] in _TENS)
    )


def _add(parts: Sequence[str], current: int) -> tuple[int, int] | None:
    """Return a number's hundreds and below with these words added, and what they multiply by."""
    times = 0
    for part in parts:
        if (
            part in _UNITS
            and not times
            and (
                current == 0
                or (current % 10 == 0 and 0 < _UNITS[part] < (10 if current % 100 else 20))
            )
        ):
            current += _UNITS[part]
        elif part in _TENS and not times and current % 100 == 0:
            current += _TENS[part]
        elif part == "hundred" and not times and current < 100:
            current = max(current, 1) * 100
        elif part in _TIMES and part != "k" and len(parts) == 1:
            times = _TIMES[part]
        else:
            return None
    return current, times


def quantity_at(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return the amount, share, length of time or number that begins at a piece.

    Bare numbers of the conversation support any unit, so that "Price: 200" supports "$200"; with
    a unit they support the same unit only.
    """
    first = tokens[at]
    if first.lower in _BEFORE and at + 1 < len(tokens) and tokens[at + 1].gap in ("", " "):
        found = number_at(tokens, at + 1)
        if found and tokens[at + 1].kind == "number":
            value, after = found
            unit = _CURRENCIES[first.lower]
            if after < len(tokens) and _CURRENCIES.get(tokens[after].lower) == unit:
                after += 1
            return _amount(tokens, at, after, value, unit), after
    if first.lower in ("a", "an", "half"):
        return _one_at(tokens, at)
    found = number_at(tokens, at)
    if found is None:
        if first.kind == "word" and first.lower in ORDINALS:
            given: frozenset[Meaning] = frozenset({("number", Decimal(ORDINALS[first.lower]))})
            return Claim("number", (first.start, first.end), given, asserted=False), at + 1
        return None
    value, after = found
    unit_at = after
    if unit_at + 1 < len(tokens) and tokens[unit_at].lower in _WORKING:
        unit_at += 1
    if unit_at < len(tokens) and tokens[unit_at].gap in ("", " ", "-"):
        word = tokens[unit_at].lower
        if unit_at == after and word in _CURRENCIES:
            return _amount(tokens, at, after + 1, value, _CURRENCIES[word]), after + 1
        if unit_at == after and word in ("cent", "cents"):
            return _amount(tokens, at, after + 1, value / 100, "dollar"), after + 1
        if word in _MINUTES or word in _MONTHS:
            return _length(tokens, at, unit_at + 1, value), unit_at + 1
    span = (first.start, tokens[after - 1].end)
    meanings: frozenset[Meaning] = frozenset({("number", value)})
    bare: set[Meaning] = {("number", value), ("bare", value)}
    if first.kind == "number":
        bare.add(("id", first.text.replace(",", "")))
    pointed = at > 0 and tokens[at - 1].lower in _POINTING and value <= _FEW
    said = first.lower != "one" and not pointed
    return Claim("number", span, meanings, frozenset(bare), asserted=said), after


def _amount(tokens: Sequence[Token], at: int, after: int, value: Decimal, unit: str) -> Claim:
    meanings: frozenset[Meaning] = frozenset({("amount", unit, value), ("bare", value)})
    given: frozenset[Meaning] = frozenset({("amount", unit, value), ("number", value)})
    kind = "number" if unit == "percent" else "amount"
    return Claim(kind, (tokens[at].start, tokens[after - 1].end), meanings, given)


def _length(tokens: Sequence[Token], at: int, after: int, value: Decimal) -> Claim:
    unit = tokens[after - 1].lower
    length: Meaning = (
        ("minutes", value * _MINUTES[unit])
        if unit in _MINUTES
        else ("months", value * _MONTHS[unit])
    )
    meanings: frozenset[Meaning] = frozenset({length, ("bare", value)})
    given: frozenset[Meaning] = frozenset({length, ("number", value)})
    return Claim("time", (tokens[at].start, tokens[after - 1].end), meanings, given)


def _one_at(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return the length of "an hour", "half an hour", "a week"; said only after "within" …"""
    after, value = at + 1, Decimal(1)
    if tokens[at].lower == "half":
        if after >= len(tokens) or tokens[after].lower not in ("a", "an"):
            return None
        after, value = after + 1, Decimal("0.5")
    if tokens[at].lower == "a":
        found = number_at(tokens, at)
        if found:
            meanings: frozenset[Meaning] = frozenset({("number", found[0])})
            span = (tokens[at].start, tokens[found[1] - 1].end)
            return Claim("number", span, meanings, meanings | {("bare", found[0])}), found[1]
    if after >= len(tokens) or tokens[after].lower not in (*_MINUTES, *_MONTHS):
        return None
    said = value != 1 or (at > 0 and tokens[at - 1].lower in _WITHIN)
    return _length(tokens, at, after + 1, value)._replace(asserted=said), after + 1
