"""How many conversations each of the gate's rules needs, and when a line will have them.

Pure. Planning needs a guess of what is not known before: how much two versions differ from one
conversation to the next. The guess is how much the shown answers' edit similarity differs between
conversations, which it equals where two versions' outcomes correlate by one half. The numbers are
those of a normal approximation (Cohen, "Statistical Power Analysis for the Behavioral Sciences",
1988, chapter 2); of rare metrics the gate's own interval is asked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

from training.metrics.text import METRICS, RARE
from training.recipe.gate import GateConfig
from training.stats import bounded_mean

POWER = 0.8
"""Probability to show what is true."""

UNKNOWN_SPREAD = 0.3
"""Standard deviation taken for granted of a line that has judged too little."""

LEAST = 5
"""Judged conversations without which a spread is not estimated."""


@dataclass(frozen=True)
class Pace:
    """What a line's own conversations say.

    Args:
        days: Over how many days they were counted.
        judged: Conversations drawn to judge whose final texts are known.
        outside: Share of the line's answers without a conversation id, which neither teach nor
            judge.
        spread: Standard deviation of edit similarity between them.
    """

    days: float
    judged: int
    outside: float
    spread: float

    @property
    def a_day(self) -> float:
        """Judged conversations a day."""
        return self.judged / self.days


@dataclass(frozen=True)
class Need:
    """What one rule needs.

    Args:
        rule: Its kind.
        metric: Its metric.
        margin: What it tolerates or asks beyond 0; of a ceiling its limit.
        conversations: Needed to show it with probability `POWER`.
        days: Until there are so many, from nothing; None if there never will be.
    """

    rule: str
    metric: str
    margin: float
    conversations: int
    days: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the need for a program."""
        return asdict(self)


def pace(
    similarities: Mapping[str, Sequence[float]], days: float, answers: int, outside: int
) -> Pace:
    """Return what a line's conversations say.

    Args:
        similarities: Of each judged conversation the edit similarity of its answers; not empty.
        days: Over how many days they were counted, above 0.
        answers: The line's answers in that time.
        outside: Those without a conversation id.
    """
    means = [fmean(values) for values in similarities.values()]
    spread = stdev(means) if len(means) >= LEAST else UNKNOWN_SPREAD
    return Pace(days, len(means), outside / answers if answers else 0.0, spread)


def needs(rules: GateConfig, seen: Pace, *, effect: float, confidence: float) -> list[Need]:
    """Return what each rule of the gate needs.

    Args:
        rules: The recipe's gate.
        seen: The line's pace.
        effect: The true gain that superiority should show, above its margin.
        confidence: Of the gate's intervals.

    Raises:
        ValueError: The effect does not exceed a superiority rule's margin.
    """
    found = []
    for rule in rules.superiority:
        if effect <= rule.margin:
            raise ValueError(
                f"an effect of {effect:g} cannot show a gain above the margin of {rule.margin:g}"
            )
        count = needed(seen.spread, effect - rule.margin, confidence)
        found.append(_need("superiority", rule.metric, rule.margin, count, seen))
    for tolerated in rules.non_inferiority:
        if tolerated.metric in RARE and 0 < tolerated.margin < 1:
            count = bounded_mean.needed(tolerated.margin, confidence=confidence)
        else:
            count = needed(seen.spread, max(tolerated.margin, 1e-6), confidence)
        found.append(_need("non_inferiority", tolerated.metric, tolerated.margin, count, seen))
    for ceiling in rules.ceilings:  # none seen: Clopper and Pearson's upper end is the limit
        count = math.ceil(math.log((1 - confidence) / 2) / math.log(1 - ceiling.at_most))
        found.append(_need("ceiling", ceiling.metric, ceiling.at_most, count, seen))
    return found


def words(need: Need) -> tuple[str, str, str, str]:
    """Return a need as a table's cells."""
    if need.days is None:
        when = "never at this pace"
    else:
        when = f"{need.days:.0f} days" if need.days >= 1 else "within a day"
    title = METRICS[need.metric].title
    return f"{title}, {need.rule}", f"{need.margin:g}", f"{need.conversations:,}", when


def _need(rule: str, metric: str, margin: float, count: int, seen: Pace) -> Need:
    days = count / seen.a_day if seen.judged else None
    return Need(rule, metric, margin, count, days)


def needed(spread: float, difference: float, confidence: float) -> int:
    """Return how many values show a true mean difference with probability `POWER`.

    Args:
        spread: The values' standard deviation.
        difference: True mean less what must be exceeded, above 0.
        confidence: Of the two-sided interval, in (0, 1).
    """
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(POWER)
    return max(2, math.ceil((quantiles * spread / difference) ** 2))
