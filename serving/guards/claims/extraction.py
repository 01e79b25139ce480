"""All claims of a text, sentence by sentence."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from serving.guards.claims.claim import Claim
from serving.guards.claims.dates import BEGIN as WHEN
from serving.guards.claims.dates import when_at
from serving.guards.claims.names import identifier_at, names
from serving.guards.claims.quantities import BEGIN as QUANTITY
from serving.guards.claims.quantities import quantity_at
from serving.guards.claims.sentences import sentences
from serving.guards.claims.tokens import Token, plain, scan

_BEGIN = WHEN | QUANTITY
_COUNT = r"(?:[0-9]{1,2}(?:-[0-9]{1,2})?|one|two|three|five|ten|a|a\ few|a\ couple(?:\ of)?)"
# What agents say without meaning the number in it.
_SMALL_TALK = re.compile(
    rf"""
    \b24\s?/\s?7\b | \b24/7/365\b
  | \b(?:24|twenty-four)\ hours(?:\ a\ day|,?\ (?:7|seven)\ days)?(?=[\ ,]*(?:a\ day|7|seven))
  | \b24\ hours\ a\ day\b | \b(?:7|seven)\ days\ a\ week\b | \b365\ days(?:\ a\ year)?
  | \b(?:100|110|hundred)\s?(?:%|percent\b)
  | \b{_COUNT}\ (?:moment|sec|second|tick)s?\b
  | \b(?:give\ me|bear\ with\ me|wait|hold(?:\ on)?|hang\ on|allow\ me|just|be\ back\ in)
    (?:\ (?:for|just|about|another|please)){{0,3}}\ {_COUNT}(?:\ (?:or|to)\ {_COUNT})?
    \ (?:more\ )?(?:min|minute)s?\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Sentence(NamedTuple):
    """A sentence's place, its pieces and its claims."""

    start: int
    end: int
    tokens: Sequence[Token]
    claims: Sequence[Claim]


def read(text: str) -> tuple[str, list[Sentence]]:
    """Return the text in plain characters, and its sentences with their claims."""
    text = plain(text)
    return text, [_sentence(text, start, end) for start, end in sentences(text)]


def _sentence(text: str, start: int, end: int) -> Sentence:
    tokens = scan(text, start, end)
    talk = [match.span() for match in _SMALL_TALK.finditer(text, start, end)]
    found: list[Claim] = []
    taken = [False] * len(tokens)
    at = 0
    while at < len(tokens):
        if tokens[at].kind == "word" and tokens[at].lower.split("-")[0] not in _BEGIN:
            at += 1
            continue
        claim, after = (
            when_at(tokens, at)
            or identifier_at(tokens, at)
            or quantity_at(tokens, at)
            or (None, at + 1)
        )
        if claim is not None:
            taken[at:after] = [True] * (after - at)
            found.append(claim)
        at = after
    found += names(tokens, taken)
    found.sort(key=lambda claim: claim.span)
    return Sentence(start, end, tokens, _without(found, talk))


def _without(claims: Sequence[Claim], talk: Sequence[tuple[int, int]]) -> list[Claim]:
    """Return the claims with those that touch small talk no longer asserted."""
    if not talk:
        return list(claims)
    ends = [end for _, end in talk]
    found = []
    for claim in claims:
        near = bisect_right(ends, claim.span[0])
        idle = near < len(talk) and talk[near][0] < claim.span[1]
        found.append(claim._replace(asserted=False) if idle else claim)
    return found
