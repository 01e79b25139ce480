"""The two arms of a canary: from stored answers to one outcome a conversation.

Pure. The conversation is the unit, because its turns resemble each other and all have one arm. It
is counted once, `window_s` after its first turn, with what had happened until then: so the order in
which conversations are counted, and when, does not depend on the arm, and looking again later only
adds conversations at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from serving.store import candidates
from serving.store.records import Action, FeedbackRecord, Rollout, Route, Served, Status
from training.data.examples import verdict
from training.metrics.text import Metric, edit_similarity
from training.recipe.canary import CanaryConfig

METRICS = {
    "edit_similarity": Metric("Edit similarity", "higher"),
    "acceptance": Metric("Acceptance", "higher"),
    "slow_answers": Metric("Slow answers", "lower"),
    "failures": Metric("Failures", "lower"),
}

KEPT = 0.5
"""An edited output was accepted if at least this much of it was kept; a rating, if this high."""


@dataclass(frozen=True)
class Change:
    """From `at` on new requests met this share; by `settled` on every replica. Seconds."""

    at: float
    settled: float
    share: float


@dataclass(frozen=True)
class CanaryTrial:
    """A running canary.

    Args:
        lob: The line of business.
        canary: The version on trial.
        control: What the other conversations get: the live version, or the base's name.
        changes: How its share moved, oldest first; at least one.
    """

    lob: str
    canary: str
    control: str
    changes: tuple[Change, ...]

    @property
    def began(self) -> float:
        """When the canary got its first share."""
        return self.changes[0].at

    @property
    def share(self) -> float:
        """Its present share."""
        return self.changes[-1].share


@dataclass(frozen=True)
class Conversation:
    """A conversation that is counted.

    Args:
        id: Its id; the answer's where the client named no conversation.
        started: Time of its first answer.
        canary: Whether the canary answered.
        share: Probability that the canary would.
        outcomes: Metric name to the mean over its turns, in [0, 1]; only what was judged.
    """

    id: str
    started: float
    canary: bool
    share: float
    outcomes: dict[str, float]


def trial(route: Route | None, rollouts: Sequence[Rollout], base: str) -> CanaryTrial | None:
    """Return the canary that runs now, or None.

    Args:
        route: The present route.
        rollouts: What happened to the route, oldest first.
        base: The base model's served name.
    """
    if route is None or route.canary is None:
        return None
    changes: list[Change] = []
    for rollout in reversed(rollouts):
        if rollout.action != Action.CANARY or rollout.to_version != route.canary:
            break
        settled = rollout.created_at + (rollout.seconds or 0.0)
        changes.insert(0, Change(rollout.created_at, settled, rollout.share or 0.0))
    if not changes:
        return None
    return CanaryTrial(route.lob, route.canary, route.live or base, tuple(changes))


def conversations(
    running: CanaryTrial, served: Sequence[Served], rules: CanaryConfig, now: float
) -> list[Conversation]:
    """Return the conversations to count, in their order.

    Left out are answers to pinned versions, which no hash chose; conversations that began while a
    change of the share was on its way to the replicas; and those that saw both arms, which a
    change moved. The last must not bias what stays: a conversation that spans shares from s to S
    stays with the canary if its hash is below s and with the control if it is S or above, so its
    probability of the canary, given that it stays, is s / (s + 1 - S).

    Args:
        running: The canary.
        served: Its line's answers since it began.
        rules: Window and bounds.
        now: Seconds since the epoch.
    """
    mine = [s for s in served if s.model_requested == running.lob and s.created_at >= running.began]
    mine.sort(key=lambda s: (s.conversation_id or s.id, s.created_at, s.id))
    counted = []
    for name, group in groupby(mine, key=lambda s: s.conversation_id or s.id):
        turns = list(group)
        started = turns[0].created_at
        end = started + rules.window_s
        if end > now or any(c.at <= started < c.settled for c in running.changes):
            continue
        turns = [turn for turn in turns if turn.created_at < end]
        versions = {turn.version for turn in turns}
        if len(versions) > 1 or not versions <= {running.canary, running.control}:
            continue
        least, most = _shares(running.changes, started, turns[-1].created_at)
        counted.append(
            Conversation(
                name,
                started,
                versions == {running.canary},
                least / (least + 1 - most),
                _outcomes(turns, end, rules),
            )
        )
    return sorted(counted, key=lambda c: (c.started, c.id))


def _shares(changes: Sequence[Change], first: float, last: float) -> tuple[float, float]:
    """Return the least and the largest share in effect between two times."""
    before = [change.share for change in changes if change.at <= first][-1:]
    shares = before + [change.share for change in changes if first < change.at <= last]
    return min(shares), max(shares)


def _outcomes(turns: Sequence[Served], end: float, rules: CanaryConfig) -> dict[str, float]:
    judged: dict[str, list[float]] = {name: [] for name in METRICS}
    for turn in turns:
        judged["failures"].append(float(turn.status != Status.COMPLETED))
        if turn.status == Status.COMPLETED:
            judged["slow_answers"].append(float(turn.latency_ms > rules.slow_ms))
        taken = candidates.as_taken(turn, until=end)
        similarity, accepted = _judged(taken.output, taken.feedback)
        if similarity is not None:
            judged["edit_similarity"].append(similarity)
        if accepted is not None:
            judged["acceptance"].append(accepted)
    return {name: sum(values) / len(values) for name, values in judged.items() if values}


def _judged(output: str, feedback: Sequence[FeedbackRecord]) -> tuple[float | None, float | None]:
    """Return how much of an output was kept, and whether it was accepted; None: nobody said."""
    merged = verdict(feedback)
    if merged.edit is not None:
        similarity = edit_similarity(output, merged.edit)
        return similarity, float(similarity >= KEPT)
    if merged.rejected:
        return 0.0, 0.0
    if any(record.used for record in feedback):
        return 1.0, 1.0
    return None, None if merged.rating is None else float(merged.rating >= KEPT)
