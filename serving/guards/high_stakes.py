"""Answers on which a person decides whatever the guards say: the line's own rules."""

from collections.abc import Sequence
from decimal import Decimal

from serving.config.reviews import Rule
from serving.guards.claims import extraction
from serving.guards.patterns import patterns
from serving.guards.verdict import Finding, Guard, GuardContext


def high_stakes(rules: Sequence[Rule]) -> Guard:
    """Return the guard of a line's rules; its kinds are their names.

    Amounts are those that the claims guard reads: a number with a currency, in figures or words.

    Args:
        rules: The rules; of one, every condition that is given must hold.
    """

    def check(text: str, context: GuardContext, /) -> Sequence[Finding]:
        found = (_of(rule, text, context.last) for rule in rules)
        return [one for one in found if one is not None]

    return check


def _of(rule: Rule, answer: str, last: str) -> Finding | None:
    span = (0, len(answer))
    if rule.answer:
        hits = patterns(rule.name, tuple(rule.answer))(answer)
        if not hits:
            return None
        span = hits[0].span
    if rule.customer and not patterns(rule.name, tuple(rule.customer))(last):
        return None
    if rule.amount_above is not None:
        above = _amounts(answer, rule.amount_above)
        if not above and not _amounts(last, rule.amount_above):
            return None
        span = above[0] if above else span
    return Finding(rule.name, 1.0, span, f"The line's rule {rule.name} asks for a person.")


def _amounts(text: str, above: float) -> list[tuple[int, int]]:
    """Return where amounts of money above a number stand."""
    limit = Decimal(str(above))
    return [
        claim.span
        for sentence in extraction.read(text)[1]
        for claim in sentence.claims
        if claim.kind == "amount"
        and any(
            m[0] == "amount" and isinstance(m[2], Decimal) and m[2] > limit
            for m in claim.meanings
            if len(m) == 3
        )
    ]
