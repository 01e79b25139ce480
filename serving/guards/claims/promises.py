"""Promises: what is offered to a customer, and who has offered it before."""

import re
from typing import NamedTuple

_WHO = r"\b(?:i|we|you|our\ \w+|the\ agent|agent|they|(?:the|your)\ \w+(?:\ \w+)?)"
_WILL = (
    r"(?:'ll|\ will|'ve|\ have|\ can|\ could|\ would|'d|\ am|'m|'re|\ are|\ is|\ was|\ shall|\ has"
    r"|\ promised|\ offered|\ agreed|\ went|\ just|\ already)"
)
_FILLERS = (
    "also be been now just already gladly happy glad able to get getting going go ahead and "
    "definitely certainly personally immediately fully issue issued issuing process processed "
    "processing provide provided offer offered offering give given giving receive send sent "
    "sending arrange arranged apply applied applying you them him her the customer with for "
    "out up a an your full partial complete free new small one-time courtesy store account"
)
_MANNER = rf"(?:\ (?:{'|'.join(_FILLERS.split())})){{0,10}}"
_WHAT = r"""
    (?:(?P<refund>refund(?:ed|s|ing)?|money\ back|reimburse(?:d|ment)?)
  | (?P<credit>credit(?:ed|s|ing)?(?!\ (?:card|score|check|union))|voucher|coupon|gift\ card)
  | (?P<replacement>replac(?:e|ed|ing|ement)\b|exchang(?:e|ed)\b)
  | (?P<call>call(?:ed|ing)?\ (?:you\ |them\ |him\ |her\ )?back|call-?back|phone\ call
        |call\ (?:you|the\ customer)\b)
  | (?P<discount>discount(?:ed|s)?|price\ match(?:ed)?|percent\ off|%\ off)
  | (?P<waiver>waiv(?:e|ed|er|ing)|free\ of\ charge|no\ extra\ (?:cost|charge))
  | (?P<compensation>compensat(?:e|ed|ion)|upgrad(?:e|ed)\b|goodwill)
  | (?P<guarantee>guarantee[ds]?|promise\ you))
"""
_PROMISE = re.compile(rf"(?:{_WHO}{_WILL}{_MANNER}\ ){_WHAT}", re.VERBOSE | re.IGNORECASE)
_COMING = re.compile(
    rf"\b(?:(?:let\ (?:me|us)|i'd\ like\ to|happy\ to|glad\ to){_MANNER}\ {_WHAT}"
    rf"|(?:a|an|the|your|full)\ {_WHAT.replace('?P<', '?P<own_')}"
    r"\ (?:is|will|has|should)\ (?:on|be|been|coming|come|arrive|reach|yours|approved|issued))",
    re.VERBOSE | re.IGNORECASE,
)
_ITSELF = re.compile(
    r"\b(?:i|we)(?:\ \w+)?\ (?P<guarantee>guarantee|promise)\b(?!\ to\ ask)",
    re.VERBOSE | re.IGNORECASE,
)
_NAMED = re.compile(_WHAT, re.VERBOSE | re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:not|no|never|cannot|unable|without|unfortunately)\b|n't\b|n\u2019t\b", re.IGNORECASE
)


class Promise(NamedTuple):
    """What is promised, and where."""

    kind: str
    span: tuple[int, int]


def promises(text: str, start: int, end: int) -> list[Promise]:
    """Return the promises of a sentence; a question, or one that denies them, has none."""
    if text[end - 1] == "?" or _DENIED.search(text, start, end):
        return []
    found = {
        match.span(): Promise((match.lastgroup or "").removeprefix("own_"), match.span())
        for pattern in (_PROMISE, _ITSELF, _COMING)
        for match in pattern.finditer(text, start, end)
    }
    return sorted(found.values(), key=lambda promise: promise.span)


def named(text: str, start: int, end: int) -> set[str]:
    """Return the kinds that a sentence names without denying them."""
    if _DENIED.search(text, start, end):
        return set()
    return {match.lastgroup or "" for match in _NAMED.finditer(text, start, end)} | {
        promise.kind for promise in promises(text, start, end)
    }
