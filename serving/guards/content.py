"""What an answer to a customer must not hold, by the line's own lists."""

from collections.abc import Sequence

from serving.config.guards import Content
from serving.guards.patterns import patterns
from serving.guards.verdict import Finding, Guard, GuardContext


def content(of: Content) -> Guard:
    """Return the guard of a line's lists; its kinds are their names.

    Args:
        of: The lists.
    """
    lists = (
        patterns("profanity", tuple(of.profanity), words=True),
        patterns("competitors", tuple(of.competitors), words=True),
        patterns("blame", tuple(of.blame)),
        patterns("legal_advice", tuple(of.legal_advice)),
    )

    def check(text: str, _: GuardContext, /) -> Sequence[Finding]:
        return [found for one in lists for found in one(text)]

    return check
