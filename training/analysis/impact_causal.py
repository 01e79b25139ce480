"""What a canary's random arms say about two versions: the causal part of the impact report.

Which arm answers a conversation is a hash of its id, so agents, customers and hours are alike in
both, and a difference is the version's doing. All judged answers count, used or not, since what is
used depends on the version. Conversations are weighted by one over the probability of their arm
(Hájek), because a growing share would else compare the canary's afternoon with live's morning.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serving.store.records import Action, Rollout, Served
from training.analysis.impact import Answer
from training.canary import outcomes as arms
from training.canary.outcomes import CanaryTrial, Change
from training.recipe.canary import CanaryConfig
from training.stats import medians
from training.stats.bootstrap import Interval, tail_share

RESAMPLES = 2000
LEAST = 5
"""Conversations of each arm without which nothing is compared."""

AS_DRAWN = 0.5
"""Least share of turns that their arm's version answered: of canaries that an older version of this
server drew by another hash, the arms are not known."""


@dataclass(frozen=True)
class Comparison:
    """Two versions over the conversations that chance gave them.

    Args:
        canary: The version on trial.
        control: The version, or base, that was live.
        conversations: Counted of the canary, and of the control.
        usage: Difference of the usage rate, canary - control.
        keystrokes: Difference of the characters saved per judged answer.
        saved_s: Median handling time of a conversation's judged answers, control - canary: above
            zero the canary saves time.
    """

    canary: str
    control: str
    conversations: tuple[int, int]
    usage: Interval | None
    keystrokes: Interval | None
    saved_s: Interval | None

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for a program."""
        return asdict(self)


def trials(
    lob: str, rollouts: Sequence[Rollout], base: str
) -> list[tuple[CanaryTrial, float | None]]:
    """Return the canaries that ran, oldest first, each with its end; None: it still runs.

    Args:
        lob: The line of business.
        rollouts: What happened to its route, oldest first, from the beginning.
        base: The base model's served name.
    """
    found: list[tuple[CanaryTrial, float | None]] = []
    live: str | None = None
    running: CanaryTrial | None = None
    for rollout in rollouts:
        canary = rollout.to_version if rollout.action == Action.CANARY else None
        if running is not None and running.canary != canary:
            found.append((running, rollout.created_at))
            running = None
        if canary is not None:
            settled = rollout.created_at + (rollout.seconds or 0.0)
            change = Change(rollout.created_at, settled, rollout.share or 0.0)
            before = running.changes if running is not None else ()
            running = CanaryTrial(lob, canary, live or base, (*before, change))
        elif rollout.action != Action.CANCEL_CANARY:
            live = rollout.to_version
    return [*found, (running, None)] if running is not None else found


def compare(
    trial: CanaryTrial,
    end: float,
    served: Sequence[Served],
    found: Sequence[Answer],
    *,
    window_s: float,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison | None:
    """Compare a trial's arms; None if either has fewer than `LEAST` conversations.

    Args:
        trial: A canary that ran or runs.
        end: When it ended, or now.
        served: The line's answers.
        found: The same, as agents saw them.
        window_s: A conversation counts once, so long after its first turn.
        confidence: Of each interval.
        seed: Of the bootstrap.
    """
    during = [one for one in served if one.created_at < end]
    counted = arms.conversations(trial, during, CanaryConfig(window_s=window_s), end)
    sizes = sum(c.canary for c in counted), sum(not c.canary for c in counted)
    if min(sizes) < LEAST or np.mean([c.answered_by_arm for c in counted]) < AS_DRAWN:
        return None
    mine: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in found:
        if answer.fate is not None and answer.version in (trial.canary, trial.control):
            mine[answer.conversation].append(answer)
    usage = {name: _average([float(a.used) for a in group]) for name, group in mine.items()}
    keys = {name: _average([a.keystrokes for a in group]) for name, group in mine.items()}
    seconds = {name: _average([a.handling_s for a in group]) for name, group in mine.items()}
    timed = [c for c in counted if seconds.get(c.id) is not None]
    return Comparison(
        canary=trial.canary,
        control=trial.control,
        conversations=sizes,
        usage=_difference(counted, usage, confidence, seed),
        keystrokes=_difference(counted, keys, confidence, seed),
        saved_s=medians.difference(
            [seconds[c.id] or 0.0 for c in timed],
            [c.canary for c in timed],
            [c.id for c in timed],
            weights=[_weight(c) for c in timed],
            confidence=confidence,
            seed=seed,
        ),
    )


def _weight(conversation: arms.Conversation) -> float:
    share = conversation.share
    return 1 / (share if conversation.canary else 1 - share)


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _difference(
    counted: Sequence[arms.Conversation],
    outcomes: dict[str, float | None],
    confidence: float,
    seed: int,
) -> Interval | None:
    """Return the interval of the weighted means' difference, each arm resampled by itself."""
    rng = np.random.default_rng(seed)
    means, draws, sizes = [], [], []
    for canary in (True, False):
        arm = [c for c in counted if c.canary == canary and outcomes.get(c.id) is not None]
        if len(arm) < LEAST:
            return None
        values = np.asarray([outcomes[c.id] for c in arm], dtype=float)
        weights = np.asarray([_weight(c) for c in arm])
        drawn = rng.integers(0, len(arm), size=(RESAMPLES, len(arm)))
        heavy = weights[drawn]
        draws.append((values[drawn] * heavy).sum(axis=1) / heavy.sum(axis=1))
        means.append(float(np.average(values, weights=weights)))
        sizes.append(len(arm))
    tail = tail_share(min(sizes), confidence)
    low, high = np.quantile(draws[0] - draws[1], [tail, 1 - tail])
    return Interval(means[0] - means[1], float(low), float(high), confidence, sum(sizes))
