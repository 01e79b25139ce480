"""Whether an agent saw an answer, and how long the turn took, by the best witness that there is.

The desktop's events tell both by its own clock. Where there are none, a complete answer is taken
for shown, and the time runs from the whole answer to the first word on what became of it, by ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from serving.store.records import ABSTAINED, FeedbackRecord, Served

Witness = Literal["events", "feedback"]
Sight = Literal["event", "word", "assumed"]
"""How it is known that an answer was shown: it was displayed; judged; or nobody says otherwise."""


class Handling(NamedTuple):
    """Seconds that a turn took and who tells; both None if nobody does, or the clocks disagree."""

    seconds: float | None
    witness: Witness | None


@dataclass(frozen=True)
class Sources:
    """How many answers were seen, and timed, by which witness.

    Args:
        displayed: A `displayed` event says that they were shown.
        judged: No such event, but somebody judged them.
        assumed: Answered before the line's first such event, or there is none: taken for shown.
        by_events: Timed from display to the text going out, by the desktop's clock.
        by_feedback: Timed from the whole answer to the first word on it, by the server's.
    """

    displayed: int
    judged: int
    assumed: int
    by_events: int
    by_feedback: int

    def words(self) -> str:
        """Return it as a sentence."""
        return (
            f"Shown: {self.displayed} by events, {self.judged} as somebody judged them, "
            f"{self.assumed} assumed. Timed: {self.by_events} by events, from display to the text "
            f"going out; {self.by_feedback} from the whole answer to the word on it."
        )


def tells_from(served: Iterable[Served]) -> float:
    """Return since when a line's desktops say what they display; infinity: they never do."""
    return min((one.created_at for one in served if one.displayed), default=inf)


def sight(served: Served, judged: bool, tells: float) -> Sight | None:
    """Return how it is known that an agent saw an answer; None: it was not shown.

    Args:
        served: The answer.
        judged: Whether an agent said something about it.
        tells: What `tells_from` returned.
    """
    if served.shown_by_draw is False or served.finish_reason == ABSTAINED:
        return None
    if served.displayed:
        return "event"
    if judged and not served.typed:
        return "word"
    return "assumed" if served.created_at < tells else None


def of(served: Served) -> Handling:
    """Return how long a turn took.

    Events count where they tell both ends: a click of `inserted` or `dismissed` is not yet the end,
    and two clocks are not compared. What was held for a person has a reviewer's time.
    """
    if served.held:
        return Handling(None, None)
    if served.displayed and served.went_out and served.went_out[0] >= served.displayed[0]:
        return Handling(served.went_out[0] - served.displayed[0], "events")
    whole = complete_at(served)
    acts = [one.created_at for one in served.feedback if _is_act(one)]
    if acts and min(acts) >= whole:
        return Handling(min(acts) - whole, "feedback")
    return Handling(None, None)


def complete_at(served: Served) -> float:
    """Return when the whole answer was there, by the server's clock."""
    return served.created_at + served.latency_ms / 1000


def sources(known: Sequence[tuple[Sight, Witness | None]]) -> Sources:
    """Count the witnesses of the answers that were shown."""
    sights = [one for one, _ in known]
    timed = [witness for _, witness in known]
    return Sources(
        displayed=sights.count("event"),
        judged=sights.count("word"),
        assumed=sights.count("assumed"),
        by_events=timed.count("events"),
        by_feedback=timed.count("feedback"),
    )


def _is_act(feedback: FeedbackRecord) -> bool:
    """A rating alone says what someone thought, perhaps much later, not what an agent did."""
    said = (feedback.edit, feedback.used, feedback.rejected)
    return any(one is not None for one in said)
