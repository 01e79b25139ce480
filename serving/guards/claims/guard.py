"""The check of claims as a line's guard."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from serving.config.guards import Action
from serving.config.guards import Claims as Settings
from serving.guards.claims.check import KINDS, compare
from serving.guards.claims.evidence import Evidence
from serving.guards.verdict import Finding, Guard, GuardContext


def claims(of: Settings) -> Guard:
    """Return the guard of a line's answers; its kinds are those of claims that are not `off`.

    What a context gives is read once, and kept as long as the context is.

    Args:
        of: The line's settings.
    """
    wanted = frozenset(kind for kind in KINDS if of.action_of(kind) is not Action.OFF)
    read: WeakKeyDictionary[GuardContext, Evidence] = WeakKeyDictionary()

    def check(text: str, context: GuardContext, /) -> Sequence[Finding]:
        evidence = read.get(context)
        if evidence is None:
            evidence = read[context] = Evidence.of(context)
        found = compare(text, evidence)
        return [one for one in found if one.kind in wanted and one.score >= of.min_score]

    return check
