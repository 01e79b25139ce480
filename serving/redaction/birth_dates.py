"""Dates of birth: one date is the same however it is written, and so is its surrogate.

A key is an ISO date, `1985-03-12`; `0000` is a year that is not said. Of two numbers that may both
be the month, the month is first with slashes (as in the US) and the day is first with dots.
"""

import re

_EN = "january february march april may june july august september october november december"
_DE = "januar februar märz april mai juni juli august september oktober november dezember"
_SHORT_EN = "jan feb mar apr may jun jul aug sep oct nov dec"
_SHORT_DE = "jan feb mrz apr mai jun jul aug sep okt nov dez"
_NAMES = tuple(names.split() for names in (_EN, _DE, _SHORT_EN, _SHORT_DE))
_MONTHS = {name: n for names in _NAMES for n, name in enumerate(names, 1)} | {"sept": 9}
_MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d\d"
DATE = re.compile(
    rf"(?<![\w.,/-])(?:{_DAY}\.?[ -]{{0,2}}+(?:of[ ])?{_MONTH}"
    rf"(?:[., '\u2019-]{{1,2}}+(?:{_YEAR}|\d\d))?"
    rf"|{_MONTH}[. -]{{1,2}}{_DAY}(?:[, '\u2019-]{{1,3}}(?:{_YEAR}|\d\d))?"
    rf"|{_YEAR}(?P<a>[./ -])\d{{1,2}}(?P=a)\d{{1,2}}"
    rf"|\d{{1,2}}(?P<b>[./ -])[ ]?\d{{1,2}}(?P=b)[ ]?(?:{_YEAR}|\d\d)"
    rf"|\d{{4}}{_YEAR}|{_YEAR}\d{{4}})(?![\w]|[./,-]\d)",
    re.IGNORECASE,
)
_PART = re.compile(r"\d+|[^\W\d_]+")


def key_of(surface: str) -> str | None:
    """Return the date that a match of `DATE` is, if it is one of the calendar."""
    slots = _slots(surface)
    if slots is None:
        return None
    year, month, day = slots["year"], slots["month"], slots["day"]
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{year:04}-{month:02}-{day:02}"


def draw(key: str, chance: bytes) -> str:
    """Return another date as long as this one in every spelling, valid in either order.

    Args:
        key: An ISO date.
        chance: At least three random bytes.
    """
    year, month, day = map(int, key.split("-"))
    if year:
        year = 1940 + chance[0] % 60 if year < 2000 else 2001 + chance[0] % 9
    month = 1 + chance[1] % 9 if month < 10 else 10 + chance[1] % 3
    low, high = (1, 9) if day < 10 else (10, 12) if day < 13 else (13, 28)
    day = low + chance[2] % (high - low + 1)
    return f"{year:04}-{month:02}-{day:02}"


def spelled(surface: str, name: str) -> str:
    """Write another date as this one was written."""
    slots = _slots(surface)
    if slots is None:
        return name
    year, month, day = map(int, name.split("-"))
    if surface.isdecimal():
        new = {"year": f"{year:04}", "month": f"{month:02}", "day": f"{day:02}"}
        return "".join(new[slot] for slot in slots)
    order = list(slots)
    parts = iter(slot for slot in order if slots[slot] or slot != "year")
    last = ""

    def write(match: re.Match[str]) -> str:
        nonlocal last
        part = match[0]
        if part.isdecimal() or part.casefold() in _MONTHS:
            last = next(parts, "")
            if last == "year":
                return f"{year:04}" if len(part) == 4 else f"{year % 100:02}"
            if not part.isdecimal():
                return _month_name(part, month)
            return f"{month if last == 'month' else day:0{len(part)}}"
        if last == "day" and part.casefold() in ("st", "nd", "rd", "th"):
            return _ordinal(day)
        return part

    return _PART.sub(write, surface)


def _slots(surface: str) -> dict[str, int] | None:
    """Return year, month and day in the order in which they are written; a year not said is 0."""
    if surface.isdecimal():  # eight digits
        if surface[:2] in ("19", "20") and surface[4:6] <= "12" and surface[4:6] > "00":
            surface = f"{surface[:4]}-{surface[4:6]}-{surface[6:]}"
        else:
            surface = f"{surface[:2]}/{surface[2:4]}/{surface[4:]}"
    parts = [p for p in _PART.findall(surface) if p.isdecimal() or p.casefold() in _MONTHS]
    numbers = [int(p) if p.isdecimal() else _MONTHS[p.casefold()] for p in parts]
    named = [i for i, p in enumerate(parts) if not p.isdecimal()]
    if len(parts) == 2 and named:
        names = ["month", "day"] if named[0] == 0 else ["day", "month"]
        return dict(zip(names, numbers, strict=True)) | {"year": 0}
    if len(parts) != 3:
        return None
    if named:
        names = ["month", "day", "year"] if named[0] == 0 else ["day", "month", "year"]
    elif len(parts[0]) == 4:
        names = ["year", "month", "day"]
    elif numbers[0] > 12 or ("." in surface and numbers[1] <= 12):
        names = ["day", "month", "year"]
    else:
        names = ["month", "day", "year"]
    slots = dict(zip(names, numbers, strict=True))
    if slots["year"] < 100:
        slots["year"] += 1900 if slots["year"] > 26 else 2000
    return slots


def _month_name(like: str, month: int) -> str:
    """Return a month's name in the language, length and case of another's."""
    folded = like.casefold()
    names = next((n for n in _NAMES if folded in n and n.index(folded) != 4), None)
    names = names or next((n for n in _NAMES if folded in n), _NAMES[2])
    new = names[month - 1]
    return new.upper() if like.isupper() else new.title() if like[0].isupper() else new


def _ordinal(day: int) -> str:
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
