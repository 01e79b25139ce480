"""Facts in an output that the conversation lacks: numbers, dates, amounts, names.

A screen, not a judge: it needs no model and misses facts in plain words. A date is the same in
figures and in words, an amount must have the conversation's unit, and a name is a capitalised
word that does not begin a sentence.
"""

import re
from collections.abc import Iterable

_MONTHS = "january february march april may june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_SHORT = {name[:3]: name for name in (*_DAYS.split(), *_MONTHS.split())} | {"sept": "september"}
_DATES = {*_DAYS.split(), *_MONTHS.split()} - {"may", "march"}  # also verbs: only with a capital
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_WORDS.split())}
_TOKEN = re.compile(r"\[[A-Z]+(?:_\d+)?\]|\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n\"“”(\[*•>|-])[\s*_\"“”(\[•>|-]*$")
_PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_\d+)?\]")
_NUMERIC_DATE = re.compile(r"(\d{1,4})([-/.])(\d{1,2})(?:\2(\d{1,4}))?")
_NUMBER = r"(?P<{}>\d+(?:,\d{{3}})*(?:\.\d+)?)"
_AMOUNT = re.compile(
    rf"(?P<sign>[$€£¥])\s?{_NUMBER.format('a')}"
    rf"|{_NUMBER.format('b')}\s?(?P<unit>%|[$€£¥]|(?:percent|dollars?|euros?|pounds?|cents?|usd|eur"
    r"|gbp)\b)",
    re.IGNORECASE,
)
_UNITS = {"$": "dollar", "usd": "dollar", "€": "euro", "eur": "euro", "£": "pound", "gbp": "pound"}
_UNITS |= {"¥": "yen", "%": "percent"}
_MONTH_NUMBER = {name: number for number, name in enumerate(_MONTHS.split(), 1)}


def unsupported_facts(output: str, conversation: Iterable[str]) -> list[str]:
    """Return the facts in an output that the conversation does not hold.

    A fact is a number or time, a date, weekday or month, an amount with its unit, a redaction
    placeholder, or a name: a capitalised word that does not begin a sentence. Each counts once,
    however often it is said.

    Args:
        output: What the model wrote.
        conversation: All texts that the model saw.
    """
    known: set[str] = set()
    dates: set[tuple[int, int]] = set()
    amounts: set[tuple[str, str]] = set()
    for text in conversation:
        known.update(_normal(token) for token in _TOKEN.findall(text))
        dates |= _days(text)
        amounts |= {amount for _, amount in _amounts(text)}
    known |= {part for token in known for part in re.split(r"['\u2019-]", token)}
    known |= {_NUMBER_WORDS[token] for token in known & _NUMBER_WORDS.keys()}
    for month, day in _days(output) & dates:  # in words here, in figures there
        known |= {_MONTHS.split()[month - 1], str(day)}
    united = {number for number, _ in amounts}
    facts: dict[str, str] = {}
    for match in _TOKEN.finditer(output):
        token = match[0]
        normal = _normal(token)
        if _is_fact(token, normal, output[max(0, match.start() - 8) : match.start()]):
            facts.setdefault(normal, token)
    unsupported = {
        normal: token
        for normal, token in facts.items()
        if normal not in known and not _numeric_days(token) & dates
    }
    for surface, (number, unit) in _amounts(output):
        if number in united and (number, unit) not in amounts:  # 50 dollars are not 50 percent
            unsupported.setdefault(number, surface)
    return list(unsupported.values())


def _amounts(text: str) -> list[tuple[str, tuple[str, str]]]:
    """Return amounts as written, each with its number and its unit."""
    found = []
    for match in _AMOUNT.finditer(text):
        unit = (match["sign"] or match["unit"]).lower()
        number = _normal(match["a"] or match["b"])
        found.append((match[0], (number, _UNITS.get(unit, unit.removesuffix("s")))))
    return found


def _days(text: str) -> set[tuple[int, int]]:
    """Return the days of the year that a text names, as (month, day), in figures or words."""
    days = {day for match in _NUMERIC_DATE.finditer(text) for day in _numeric_days(match[0])}
    tokens = [_normal(token) for token in _TOKEN.findall(text)]
    for index, token in enumerate(tokens):
        month = _MONTH_NUMBER.get(token)
        if month is not None:
            near = tokens[max(0, index - 3) : index + 2]  # the 12th of May, May 12
            days |= {(month, int(t)) for t in near if t.isdecimal() and 1 <= int(t) <= 31}
    return days


def _numeric_days(token: str) -> set[tuple[int, int]]:
    """Return what a date in figures may mean: 5/12 is a day of May or of December."""
    match = _NUMERIC_DATE.fullmatch(token)
    if match is None:
        return set()
    parts = [int(part) for part in (match[1], match[3], match[4]) if part]
    if len(match[1]) == 4:
        parts = parts[1:]
    if len(parts) < 2:
        return set()
    pairs = {(parts[0], parts[1]), (parts[1], parts[0])}
    return {(month, day) for month, day in pairs if 1 <= month <= 12 and 1 <= day <= 31}


def _is_fact(token: str, normal: str, before: str) -> bool:
    if token[0].isdigit() or _PLACEHOLDER.fullmatch(token):
        return True
    if normal in _DATES:
        return True
    if not token[0].isupper() or normal in {*_UNITS, "i", "ok"} or normal.startswith("i'"):
        return False
    return _SENTENCE_START.search(before) is None


def _normal(token: str) -> str:
    """Return one spelling for what means the same: 1,000.00 and 1000, Tue and Tuesday."""
    if token[0].isdigit():
        plain = re.sub(r",(?=\d{3}(?!\d))", "", token)
        return re.sub(r"\.0+$", "", plain)
    lower = token.lower().replace("\u2019", "'").removesuffix("'s")
    return _SHORT.get(lower, lower)
