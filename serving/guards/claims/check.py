"""Checks a text's claims against what the conversation and the knowledge give."""

import re
from typing import get_args

from serving.config.guards import ClaimKind
from serving.guards.claims.evidence import Evidence
from serving.guards.claims.extraction import Sentence, read
from serving.guards.claims.negations import statements
from serving.guards.claims.promises import promises
from serving.guards.verdict import Finding, GuardContext

KINDS: tuple[ClaimKind, ...] = get_args(ClaimKind)
_SCORES = {
    "amount": 0.95,
    "identifier": 0.95,
    "number": 0.9,
    "date": 0.9,
    "time": 0.85,
    "name": 0.7,
}
_NOTHING = "Neither the conversation nor the knowledge has this {}."
_WHAT = {"amount": "amount", "time": "time or duration"}
_OFFERED = 0.9
_ASKED_FOR = 0.6
_DENIED = 0.6
_SUM = re.compile(
    r"\b(?:totals?|altogether|in all|sum|combined|together|remaining|remainder|left|balance"
    r"|differences?|less|minus|plus|after|save[ds]?|savings?|off|owed?|due)\b",
    re.IGNORECASE,
)


def check(text: str, context: GuardContext) -> list[Finding]:
    """Return the claims of a text that nothing in its context supports, in the text's order.

    Args:
        text: A suggestion, a summary, or as many whole sentences of one as there are
            (`sentences.complete`): what is found in them does not depend on what follows.
        context: What the claims may rest on. A prompt counts as knowledge.
    """
    return compare(text, Evidence.of(context))


def compare(text: str, evidence: Evidence) -> list[Finding]:
    """Return what `check` does, for evidence that was made before."""
    written, sentences = read(text)
    return [finding for one in sentences for finding in _sentence(written, one, evidence)]


def _sentence(text: str, one: Sentence, evidence: Evidence) -> list[Finding]:
    found = []
    sums = _SUM.search(text, one.start, one.end) is not None
    for claim in one.claims:
        if not claim.asserted or evidence.supports(claim):
            continue
        if sums and claim.kind == "amount" and evidence.derives(claim):
            continue
        reason = _NOTHING.format(_WHAT.get(claim.kind, claim.kind))
        found.append(Finding(claim.kind, _SCORES[claim.kind], claim.span, reason))
    for promise in promises(text, one.start, one.end):
        if promise.kind in evidence.offered:
            continue
        asked = promise.kind in evidence.asked_for
        reason = (
            f"Promises what only the customer named: {promise.kind}."
            if asked
            else f"Promises what nobody offered: {promise.kind}."
        )
        score = _ASKED_FOR if asked else _OFFERED
        found.append(Finding("promise", score, promise.span, reason))
    for statement in statements(text, one.start, one.end, one.tokens):
        if evidence.statements.denies(statement):
            reason = "The conversation says the reverse, and nowhere this."
            found.append(Finding("negation", _DENIED, statement.span, reason))
    return sorted(found, key=lambda finding: finding.span)
