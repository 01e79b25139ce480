"""What one look at an installation found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from serving.errors import SwitchboardError


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `said` is a sentence for a person, with what to do where something is to be done; `facts` are
    numbers and names for a program. Neither holds a secret or a text of a conversation.
    """

    about: str
    state: State
    said: str
    facts: dict[str, Any] = field(default_factory=dict)


Check = Callable[[], Finding]


def all_of(checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    """Make all checks; one that fails itself is a fault, and stops no other.

    Args:
        checks: What each is about, and the check.
    """
    found = []
    for about, check in checks:
        try:
            found.append(check())
        except SwitchboardError as exc:
            found.append(Finding(about, State.FAULT, str(exc)))
        except Exception as exc:  # a doctor that falls ill helps nobody
            said = f"the check itself failed: {type(exc).__name__}"
            found.append(Finding(about, State.FAULT, said))
    return found


def worst(findings: Iterable[Finding]) -> State:
    """Return the worst state of all."""
    order = list(State)
    return max((one.state for one in findings), key=order.index, default=State.OK)
