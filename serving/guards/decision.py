"""What follows from verdicts: the one place that says what `flag`, `review` and `block` do."""

from collections.abc import Iterable
from enum import StrEnum

from serving.guards.verdict import Action, Verdict, worst


class Decision(StrEnum):
    """What becomes of a request or an answer."""

    PASS = "pass"  # noqa: S105 - a word
    REFUSE = "refuse"
    HOLD = "hold"


def decide(verdicts: Iterable[Verdict]) -> Decision:
    """Return what becomes of a text; `hold` is refused, too, where the line has no review queue."""
    match worst(verdicts):
        case Action.BLOCK:
            return Decision.REFUSE
        case Action.REVIEW:
            return Decision.HOLD
    return Decision.PASS


def holds(action: Action) -> bool:
    """Whether a text must not pass before such a guard has read it, or where it failed."""
    return action in {Action.BLOCK, Action.REVIEW}
