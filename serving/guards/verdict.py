"""What guards return: findings, and the verdict that a line's configuration makes of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.config.guards import Action

__all__ = ["Action", "Finding", "Guard", "GuardContext", "Verdict", "gravest", "worst"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a guard found in a text.

    Args:
        kind: What it is, such as `injection` or `number`; a metric's label.
        score: How sure the guard is, 0 to 1.
        span: Where it stands in the text that the guard got: offsets of its first character and of
            the one after its last.
        reason: For the person who must decide, in a sentence, without the text itself.
    """

    kind: str
    score: float
    span: tuple[int, int]
    reason: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class GuardContext:
    """What a guard may compare a text with; it does no input or output of its own.

    Args:
        lob: The line of business, or None.
        task: `suggestion`, `summary`, `chat` …
        prompt: The system prompt that the model got, or "".
        conversation: The other messages, oldest first, as (role, text).
        knowledge: Passages that the prompt was given to answer from.
        last: What the customer wrote last, where the guard of answers is told.
    """

    lob: str | None = None
    task: str = "chat"
    prompt: str = ""
    conversation: tuple[tuple[str, str], ...] = ()
    knowledge: tuple[str, ...] = ()
    last: str = ""


class Guard(Protocol):
    """A check of one text."""

    def __call__(self, text: str, context: GuardContext, /) -> Sequence[Finding]:
        """Return what was found; nothing found is an empty sequence."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A guard's finding, and what follows from it."""

    guard: str
    action: Action
    finding: Finding

    def as_json(self) -> dict[str, object]:
        """Return it as it is stored with an interaction and told to a client."""
        found = self.finding
        return {
            "guard": self.guard,
            "action": self.action.value,
            "kind": found.kind,
            "score": found.score,
            "span": list(found.span),
            "reason": found.reason,
        }


_SEVERITY = {action: place for place, action in enumerate(Action)}


def gravest(actions: Iterable[Action]) -> Action:
    """Return the gravest of some actions; `off` where there is none."""
    return max(actions, key=_SEVERITY.__getitem__, default=Action.OFF)


def worst(verdicts: Iterable[Verdict]) -> Action:
    """Return the gravest action of some verdicts; `off` where there is none."""
    return gravest(verdict.action for verdict in verdicts)
