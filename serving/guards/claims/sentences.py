"""Sentences of a text, with their places, also of a text that is still growing."""

import re

_END = re.compile(
    r"(?:(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019)\]]{0,3}+\s++|\n\s*+)(?=\S)",
)
_LAST_WORD = re.compile(r"[\w.]{1,12}\Z")
_LIST_MARK = re.compile(r"(?:^|\n)[ \t]{0,8}[0-9]{1,3}\Z")
# Never the end of a sentence; these may be, before a capital.
_GO_ON = frozenset("mr mrs ms dr prof st vs e.g i.e approx dept ext fig art sr jr".split())
_MAY_END = frozenset("a.m p.m am pm etc inc ltd co corp u.s".split())
_BEFORE_NUMBER = frozenset(("no", "nr"))
_BACK = 16
"""Characters before a full stop that tell an abbreviation."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where each sentence begins and ends, blanks around it left out.

    A sentence ends at `.`, `!` or `?` before a blank, where no abbreviation, initial or list number
    stands before it, and at a new line that does not go on in small letters.
    """
    return _split(text)[0]


def complete(text: str) -> int:
    """Return how many characters of a growing text are whole sentences, whatever follows.

    `sentences` of any longer text has the same sentences up to there.
    """
    return _split(text)[1]


def _split(text: str) -> tuple[list[tuple[int, int]], int]:
    found: list[tuple[int, int]] = []
    begin = 0
    for match in _END.finditer(text, 0, len(text.rstrip())):
        if _ends(text, match):
            _add(found, text, begin, match.end())
            begin = match.end()
    _add(found, text, begin, len(text))
    return found, begin


def _ends(text: str, match: re.Match[str]) -> bool:
    after = text[match.end()]
    if "\n" in match[0] and not after.islower():
        return True
    if match[0][0] != ".":
        return match[0][0] != "\n"
    if len(match[0].rstrip()) > 1:  # more points, or a quote that ends with the sentence
        return True
    before = text[max(0, match.start() - _BACK) : match.start()]
    if _LIST_MARK.search(before) and (len(before) < _BACK or "\n" in before):
        return False
    word = _LAST_WORD.search(before)
    last = word[0].lower() if word else ""
    if last in _BEFORE_NUMBER:
        return not after.isdecimal()
    if last in _GO_ON or (len(last) == 1 and last.isalpha() and last != "i"):
        return False
    return not (last in _MAY_END and not after.isupper())


def _add(found: list[tuple[int, int]], text: str, begin: int, end: int) -> None:
    while end > begin and text[end - 1].isspace():
        end -= 1
    while begin < end and text[begin].isspace():
        begin += 1
    if begin < end:
        found.append((begin, end))
