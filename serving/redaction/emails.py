"""E-mail addresses: as they are, and as people spell them where software would take them out."""

import re
from collections.abc import Iterator

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]++ ?@ ?(?:[\w-]+\.)+[^\W\d_]{2,}")
_AT = r" ?(?:[\[({] ?(?:at|@|ät) ?[\])}]) ?"
_DOT = r" ?(?:[\[({] ?(?:dot|punkt|\.) ?[\])}]) ?"
_TLD = (
    r"(?:com|org|net|edu|gov|info|biz|io|me|eu|de|fr|es|it|nl|be|at|ch|pl|se|dk|no|ie|uk|us|ca)\b"
)
_LOCAL = (
    r"(?<![\w.+%-])(?P<local>[\w.+%-]{1,64}+"
    r"(?: (?:dot|punkt|underscore|dash|minus|plus) [\w.+%-]{1,64}+){0,3}"
)
_HOST = r"[\w-]{1,63}+"
_SPELLED_EMAILS = (
    # jo [at] mail.com, jo(at)mail(dot)com
    re.compile(rf"{_LOCAL}){_AT}{_HOST}(?:(?:\.|{_DOT}| dot ){_HOST}){{1,3}}", re.IGNORECASE),
    # jo dot doe at mail dot com, jo@mail dot com
    re.compile(
        rf"{_LOCAL})(?: at | ?@ ?){_HOST}(?: (?:dot|punkt) {_HOST}){{0,2}} (?:dot|punkt) {_TLD}",
        re.IGNORECASE,
    ),
    # jo.doe at gmail.com: of a domain that gives addresses to people
    re.compile(
        rf"{_LOCAL}) at (?:(?:gmail|googlemail|yahoo|hotmail|outlook|live|msn|icloud|me|aol|gmx|web"
        rf"|proton|protonmail|mail|email|t-online|orange|free|libero|wanadoo|yandex)\.){_TLD}",
        re.IGNORECASE,
    ),
)
_NO_LOCAL = frozenset(
    "a am an and are arrive at available be bought buy by check code email for found get go good "
    "help here i in is it item job look looked looking mail me meet not on one online only open "
    "or order ordered out over page paid please pm price read save see seen sell shop shopping "
    "site sold store the them there this to up us visit was we website work works you".split()
)


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where addresses begin and end in a text; they may overlap."""
    if "@" in text:
        for m in _EMAIL.finditer(text):
            yield m.span()
    for pattern in _patterns(text.casefold()):
        for m in pattern.finditer(text):
            if m["local"].casefold() not in _NO_LOCAL and not m["local"].isdigit():
                yield m.span()


def _patterns(folded: str) -> Iterator[re.Pattern[str]]:
    """Yield the patterns whose signs a text has, cases folded: most texts have those of none."""
    in_brackets, by_words, of_people = _SPELLED_EMAILS
    if any(bracket in folded for bracket in "[({"):
        yield in_brackets
    if "dot" in folded or "punkt" in folded:
        yield by_words
    if " at " in folded:
        yield of_people
