"""What showing suggestions does, by the draw that holds some back: the report's causal saving.

Chance decided which turns were shown, so shown and held-back turns are alike but for it, and all
drawn turns count, used or not. Both arms are measured in one way: from the whole answer to when the
final text reached the server, by the server's clock, since of what was held back no display is
told. A turn is weighted by one over the probability of its arm (Hájek), because the share may have
moved; conversations are resampled whole, as their turns resemble each other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.store import candidates
from serving.store.records import Served, Status
from training.analysis.handling import complete_at
from training.data.examples import verdict
from training.metrics.text import edit_similarity
from training.stats import bootstrap, medians
from training.stats.bootstrap import Interval

LEAST = 20
"""Conversations of each arm with a known figure, without which it is not compared."""
_FROM_EVENT = "event:"
"""Begins the client key of feedback that is an event; the event itself says when, and better."""


@dataclass(frozen=True)
class Turn:
    """A turn that was drawn, and what became of it.

    Args:
        conversation: The conversation's id.
        shown: How the draw fell.
        share: Probability that a turn was held back.
        seconds: From the whole answer to the final text; None if it is not known to have gone out.
        alike: Edit similarity of the final text to the first candidate; None: text not known.
        characters: Length of the final text.
    """

    conversation: str
    shown: bool
    share: float
    seconds: float | None
    alike: float | None
    characters: float | None

    @property
    def weight(self) -> float:
        """One over the probability of its arm."""
        return 1 / (1 - self.share if self.shown else self.share)


@dataclass(frozen=True)
class Effect:
    """Shown against held-back turns; pairs are (shown, held back).

    Args:
        turns: Drawn.
        timed: Of these with a known time. Shares that differ mean that not the same turns are
            compared.
        known: With a known final text.
        seconds: Median handling time, unweighted.
        saved_s: Median handling time, held back - shown: above zero showing saves time.
        alike: Mean similarity of the final text to the suggestion, shown - held back: by how much
            agents write what they see.
        characters: Mean length of the final text, shown - held back.
    """

    turns: tuple[int, int]
    timed: tuple[int, int]
    known: tuple[int, int]
    seconds: tuple[float | None, float | None]
    saved_s: Interval | None
    alike: Interval | None
    characters: Interval | None

    def as_json(self) -> dict[str, Any]:
        """Return the effect for a program."""
        return asdict(self)

    def words(self) -> str:
        """Return it as a sentence."""
        (shown, held), (timed, held_timed) = self.turns, self.timed
        said = [
            f"By chance, {shown} turns were shown and {held} held back; of these {timed} and "
            f"{held_timed} are timed"
        ]
        if self.saved_s is not None and None not in self.seconds:
            said.append(
                f"median {self.seconds[0]:.1f} s against {self.seconds[1]:.1f} s, showing saves "
                f"{_span(self.saved_s, '+.1f')} s"
            )
        else:
            said.append(f"no effect yet, it takes {LEAST} conversations of each with a time")
        if self.alike is not None and self.characters is not None:
            said.append(
                f"the final text is {_span(self.alike, '+.2f')} more like the suggestion and "
                f"{_span(self.characters, '+.0f')} characters longer"
            )
        return "; ".join(said) + "."


def turns(served: Iterable[Served], lob: str) -> list[Turn]:
    """Return the turns that were drawn, each once, though it was asked again.

    Args:
        served: A line's answers with their feedback.
        lob: The line of business.
    """
    drawn = [
        one
        for one in served
        if one.shown_by_draw is not None
        and one.model_requested == lob
        and one.status == Status.COMPLETED
    ]

    def place(one: Served) -> tuple[str, int, bool]:
        return one.conversation_id or "", one.turn_position or 0, bool(one.shown_by_draw)

    drawn.sort(key=lambda one: (*place(one), one.created_at, one.id))
    return [_turn(list(group)) for _, group in groupby(drawn, key=place)]


def effect(found: Sequence[Turn], *, confidence: float = 0.95, seed: int = 0) -> Effect | None:
    """Compare the arms; None where nothing was held back.

    Args:
        found: The turns that were drawn.
        confidence: Of each interval.
        seed: Of the bootstrap.
    """
    if all(one.shown for one in found):
        return None
    timed = [one for one in found if one.seconds is not None]
    saved = None
    if _enough(timed):
        saved = medians.difference(
            [one.seconds or 0.0 for one in timed],
            [one.shown for one in timed],
            [one.conversation for one in timed],
            weights=[one.weight for one in timed],
            confidence=confidence,
            seed=seed,
        )
    return Effect(
        turns=_sizes(found),
        timed=_sizes(timed),
        known=_sizes([one for one in found if one.alike is not None]),
        seconds=(_median(timed, shown=True), _median(timed, shown=False)),
        saved_s=saved,
        alike=_difference(found, lambda one: one.alike, confidence, seed),
        characters=_difference(found, lambda one: one.characters, confidence, seed),
    )


def _turn(asked: Sequence[Served]) -> Turn:
    """Return a turn by all answers that it was given: the first begins it, the first text ends."""
    first = asked[0]
    ends = [end for one in asked if (end := _ended(one)) is not None]
    whole = complete_at(first)
    text = next((text for one in asked if (text := _final(one)) is not None), None)
    return Turn(
        conversation=first.conversation_id or first.id,
        shown=bool(first.shown_by_draw),
        share=first.holdback or 0.0,
        seconds=min(ends) - whole if ends and min(ends) >= whole else None,
        alike=None if text is None else edit_similarity(first.output, text),
        characters=None if text is None else float(len(text)),
    )


def _ended(served: Served) -> float | None:
    """Return when the server learned that the text had gone out, a click apart.

    What was held stays in its arm, as it was drawn; what reviewers said of it is no agent's act.
    """
    if served.went_out is not None:
        return served.went_out[1]
    said = [
        one.created_at
        for one in served.feedback
        if (one.edit is not None or one.used)
        and not one.client_key.startswith(_FROM_EVENT)
        and not served.held
    ]
    return min(said, default=None)


def _final(served: Served) -> str | None:
    taken = candidates.as_taken(served)
    said = verdict(taken.feedback)
    if served.held:
        return None
    if said.edit is not None:
        return said.edit
    return taken.output if said.used else None


def _sizes(found: Sequence[Turn]) -> tuple[int, int]:
    shown = sum(one.shown for one in found)
    return shown, len(found) - shown


def _enough(found: Sequence[Turn]) -> bool:
    arms = [{one.conversation for one in found if one.shown == arm} for arm in (True, False)]
    return min(map(len, arms)) >= LEAST


def _median(timed: Sequence[Turn], *, shown: bool) -> float | None:
    values = [one.seconds for one in timed if one.shown == shown and one.seconds is not None]
    return median(values) if values else None


def _difference(
    found: Sequence[Turn], value: Callable[[Turn], float | None], confidence: float, seed: int
) -> Interval | None:
    """Return the interval of the weighted means' difference, shown - held back."""
    known = [(one, figure) for one in found if (figure := value(one)) is not None]
    if not _enough([one for one, _ in known]):
        return None
    names = {name: row for row, name in enumerate({one.conversation for one, _ in known})}
    sums = np.zeros((len(names), 4))
    for one, figure in known:
        at = 0 if one.shown else 2
        sums[names[one.conversation], at : at + 2] += one.weight * figure, one.weight

    def of(total: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(total[:, 0] / total[:, 1] - total[:, 2] / total[:, 3])

    return bootstrap.statistic(sums, of, confidence=confidence, seed=seed)


def _span(interval: Interval, form: str) -> str:
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
