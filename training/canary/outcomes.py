"""The two arms of a canary: from stored answers to one outcome a conversation.

Pure, and by intention to treat: a conversation's arm is the one that the hash gave it, whoever
answered. A canary that fails and is covered by a fallback so counts its own failures, and cannot
look well by answering only what is easy (Montori and Guyatt, "Intention-to-treat principle", CMAJ
165, 2001).

The conversation is the unit, because its turns resemble each other and all have one arm. It is
counted once, `window_s` after its first turn, with what had happened until then: so the order in
which conversations are counted, and when, does not depend on the arm, and looking again later only
adds conversations at the end. Of a conversation that a change of the share overtakes only the turns
before count, in both arms alike. Only `shown` is judged from the trial's first `displayed` event
on, then of all that counts: until then it is 0 in both arms alike, which shows nothing. So is
`held` from the first answer on that became a person's task. What was held stays in all other
metrics by what the person said of it: its version earned that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf

from serving.draws import in_canary
from serving.store import candidates
from serving.store.records import ABSTAINED, Action, FeedbackRecord, Rollout, Route, Served, Status
from training.data.examples import verdict
from training.metrics.text import Metric, edit_similarity
from training.recipe.canary import CanaryConfig

METRICS = {
    "edit_similarity": Metric("Edit similarity", "higher"),
    "acceptance": Metric("Acceptance", "higher"),
    "usage": Metric("Usage", "higher"),
    "judged": Metric("Judged answers", "higher"),
    "shown": Metric("Shown answers", "higher"),
    "slow_answers": Metric("Slow answers", "lower"),
    "failures": Metric("Failures", "lower"),
    "held": Metric("Held answers", "lower"),
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
        id: Its id.
        started: Time of its first answer.
        canary: Whether the hash gave it to the canary, whoever answered.
        share: Probability that it would.
        outcomes: Metric name to the mean over its turns, in [0, 1]; only what was judged.
        answered_by_arm: Share of its turns that its arm's version answered.
    """

    id: str
    started: float
    canary: bool
    share: float
    outcomes: dict[str, float]
    answered_by_arm: float = 1.0


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

    Left out are answers to pinned versions, which no hash chose; answers outside conversations,
    which the live version always gets; and conversations that began while a change of the share
    was on its way to the replicas.

    Args:
        running: The canary.
        served: Its line's answers since it began.
        rules: Window and bounds.
        now: Seconds since the epoch.
    """
    mine = [s for s in served if s.model_requested == running.lob and s.conversation_id]
    mine = [s for s in mine if s.created_at >= running.began]
    mine.sort(key=lambda s: (s.conversation_id or "", s.created_at, s.id))
    counted = []
    for name, group in groupby(mine, key=lambda s: s.conversation_id or ""):
        turns = list(group)
        started = turns[0].created_at
        end = started + rules.window_s
        if end > now or any(c.at <= started < c.settled for c in running.changes):
            continue
        share, until = _share(running.changes, started)
        turns = [turn for turn in turns if turn.created_at < min(end, until)]
        canary = in_canary(running.canary, share, name)
        arm = running.canary if canary else running.control
        own = sum(turn.version == arm for turn in turns) / len(turns)
        outcomes = _outcomes(turns, arm, end, rules)
        counted.append(Conversation(name, started, canary, share, outcomes, own))
    for name in ("shown", "held"):  # the desktops do not tell; no person is asked
        if not any(one.outcomes.get(name) for one in counted):
            for one in counted:
                one.outcomes.pop(name, None)
    return sorted(counted, key=lambda c: (c.started, c.id))


def _share(changes: Sequence[Change], at: float) -> tuple[float, float]:
    """Return the share in effect at a time, and until when it was."""
    share = [change.share for change in changes if change.at <= at][-1]
    return share, min((change.at for change in changes if change.at > at), default=inf)


def _outcomes(
    turns: Sequence[Served], arm: str, end: float, rules: CanaryConfig
) -> dict[str, float]:
    judged: dict[str, list[float]] = {name: [] for name in METRICS}
    for turn in turns:
        other = turn.version != arm
        judged["failures"].append(float(other or turn.status != Status.COMPLETED))
        judged["held"].append(float(turn.held))
        if turn.status == Status.COMPLETED:
            judged["slow_answers"].append(float(turn.latency_ms > rules.slow_ms))
        # No agent saw it, by no fault of its own, or since its line wanted silence.
        if turn.shown_by_draw is False or turn.finish_reason == ABSTAINED:
            continue
        # Of what was held the agent saw the line's fallback text.
        shown = turn.displayed is not None and turn.displayed[1] < end and not turn.held
        judged["shown"].append(float(shown and not other))
        taken = candidates.as_taken(turn, until=end)
        similarity, accepted = _judged(taken.output, taken.feedback)
        if other:  # what another version answered is not this arm's merit
            similarity = None if similarity is None else 0.0
            accepted = None if accepted is None else 0.0
        judged["usage"].append(accepted or 0.0)
        judged["judged"].append(float(similarity is not None))
        if similarity is not None:
            judged["edit_similarity"].append(similarity)
        if accepted is not None:
            judged["acceptance"].append(accepted)
    return {name: sum(values) / len(values) for name, values in judged.items() if values}


def written_anew(feedback: Sequence[FeedbackRecord]) -> bool:
    """Whether the final text was written without the output, however alike: `used` is denied."""
    edits = [one for one in feedback if one.edit is not None]
    return bool(edits) and max(edits, key=lambda f: (f.created_at, f.id or 0)).used is False


def _judged(output: str, feedback: Sequence[FeedbackRecord]) -> tuple[float | None, float | None]:
    """Return how much of an output was kept, and whether it was accepted; None: nobody said."""
    merged = verdict(feedback)
    if merged.edit is not None:
        similarity = edit_similarity(output, merged.edit)
        return similarity, float(similarity >= KEPT and not written_anew(feedback))
    if merged.rejected:
        return 0.0, 0.0
    if any(record.used for record in feedback):
        return 1.0, 1.0
    return None, None if merged.rating is None else float(merged.rating >= KEPT)
