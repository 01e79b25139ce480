"""Statements and whether they are denied: what a text says and what the conversation says.

Two statements are about the same where they share nearly all content words and all figures, or all
of what was said stands in the other. Rules only: "the parcel
is lost" and "it has arrived" contradict each other and are not seen.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from serving.guards.claims.tokens import Token

_NO = frozenset("not no never none nothing cannot cant without neither nor nobody dont".split())
# Pairs of words that deny each other, as one concept said and denied.
_STATES = {
    **dict.fromkeys(
        "confirmed successful successfully succeeded approved".split(), ("done", False)
    ),
    **dict.fromkeys("failed unsuccessful declined rejected denied refused".split(), ("done", True)),
    "available": ("available", False),
    "unavailable": ("available", True),
    "able": ("able", False),
    "unable": ("able", True),
    "valid": ("valid", False),
    "invalid": ("valid", True),
    "correct": ("correct", False),
    "incorrect": ("correct", True),
    "eligible": ("eligible", False),
    "ineligible": ("eligible", True),
    "possible": ("possible", False),
    "impossible": ("possible", True),
    "covered": ("covered", False),
    "uncovered": ("covered", True),
}
_CONCEPTS = frozenset(concept for concept, _ in _STATES.values())
_EMPTY = frozenset(
    """
    a an the and or but so if than this these those there here it its i me my we us our
    you your he him his she her they them their is are was were be been being am do does did done
    have has had having will would can could shall should may might must to of in on at by for from
    with as into about up out just also too very really please yes well okay ok now any some all
    one i'm i'll i've it's you're we'll we're don't doesn't didn't isn't aren't wasn't can't won't
    couldn't wouldn't hasn't haven't wants want said says customer agent however great sorry thanks
    thank unfortunately right alright sure looks like
    """.split()
)
_IDLE = re.compile(
    r"\bno (?:problem|worries|doubt|trouble|need)\b|\bnot only\b|\b(?:do not|don't|never) (?:worry"
    r"|hesitate|mind)\b|\bcan(?:'t|not) wait\b|\bwhy (?:not|don't)\b|\bif (?:not|you don't)\b"
    r"|\bnot at all\b|\bor not\b|\bno longer than\b|\bno later than\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:\u2014]|\b(?:but|however|although|because|since|and)\b", re.IGNORECASE)
# Of another time, day or thing than the words say.
_POINTING = frozenset("that then another other others else different still again instead".split())
_LEAST, _ALIKE, _POSTINGS = 2, 0.75, 16
_YES = frozenset("yes yeah yep yup sure correct right exactly".split())
_NOES = frozenset("no nope nah".split())


class Statement(NamedTuple):
    """A clause: stems of its content words, its figures, whether it is denied, and its place."""

    words: frozenset[str]
    figures: frozenset[str]
    denied: bool
    span: tuple[int, int]


@dataclass(slots=True)
class Statements:
    """What was said, found by its words."""

    _said: list[Statement] = field(default_factory=list)
    _by_word: dict[str, list[int]] = field(default_factory=dict)
    _seen: set[tuple[frozenset[str], frozenset[str], bool]] = field(default_factory=set)

    def add(self, statements: Iterable[Statement]) -> None:
        """Take up statements."""
        for one in statements:
            key = (one.words, one.figures, one.denied)
            if len(one.words) < _LEAST or key in self._seen:
                continue
            self._seen.add(key)
            for word in one.words:
                self._by_word.setdefault(word, []).append(len(self._said))
            self._said.append(one)

    def denies(self, one: Statement) -> bool:
        """Say whether something said is the reverse of a statement, and nothing said is the same.

        Of a word's statements only the last few are compared, so that the time stays linear.
        """
        if len(one.words) < _LEAST:
            return False
        near = {at for word in one.words for at in self._by_word.get(word, ())[-_POSTINGS:]}
        said = (self._said[at] for at in near)
        alike = [other.denied for other in said if _alike(one, other)]
        return bool(alike) and one.denied not in alike


def statements(text: str, start: int, end: int, tokens: Sequence[Token]) -> list[Statement]:
    """Return what a sentence states, clause by clause; a question states nothing."""
    if text[end - 1] == "?":
        return []
    return _clauses(text, start, end, tokens)


def answered(
    text: str, start: int, end: int, tokens: Sequence[Token], answer: Sequence[Token]
) -> list[Statement]:
    """Return what a question states once it is answered with yes or no; else nothing."""
    if text[end - 1] != "?" or not answer:
        return []
    first = answer[0].lower
    if first not in _YES and first not in _NOES:
        return []
    return [
        one._replace(denied=one.denied != (first in _NOES))
        for one in _clauses(text, start, end, tokens)
    ]


def _clauses(text: str, start: int, end: int, tokens: Sequence[Token]) -> list[Statement]:
    idle = {at for match in _IDLE.finditer(text, start, end) for at in range(*match.span())}
    bounds = [start, *(match.start() for match in _CLAUSE.finditer(text, start, end)), end]
    found: list[Statement] = []
    at = 0
    for low, high in pairwise(bounds):
        words: set[str] = set()
        figures: set[str] = set()
        denied = pointing = False
        while at < len(tokens) and tokens[at].start < high:
            token = tokens[at]
            at += 1
            if token.start in idle:
                continue
            if token.lower in _NO or token.lower.endswith("n't"):
                denied = not denied
            elif token.lower in _STATES:
                concept, reverse = _STATES[token.lower]
                words.add(concept)
                denied = denied != reverse
            elif token.kind not in ("word", "sign"):
                figures.add(token.lower.replace(" ", "").replace(".", ""))
            elif token.lower in _POINTING:
                pointing = True
            elif token.kind == "word" and token.lower not in _EMPTY:
                words.add(_stem(token.lower))
        if words and not pointing:
            place = _trimmed(text, low, high)
            found.append(Statement(frozenset(words), frozenset(figures), denied, place))
    return found


def _alike(one: Statement, said: Statement) -> bool:
    """Say whether two statements are of the same, or what was said is all within the other."""
    both = len(one.words & said.words)
    if both < _LEAST:
        return False
    if one.figures == said.figures and both >= _ALIKE * max(len(one.words), len(said.words)):
        return True
    known = said.words <= one.words and said.figures <= one.figures
    return known and (both > _LEAST or not _CONCEPTS.isdisjoint(said.words))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending in ("ing", "ied", "ies", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
