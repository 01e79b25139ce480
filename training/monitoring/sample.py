"""How many answers are drawn to be graded: by the interval wanted, and by what it may cost.

The number is that of a mean of independent grades, n = (z s / h)^2 for a half width h and a
deviation s (Cochran, "Sampling Techniques", 1977, chapter 4). Answers are drawn one by one by a
hash of their ids; those of one conversation resemble each other, so that the interval that is made
afterwards, over conversations, may be wider.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from training.recipe.monitoring import GradingConfig

WORST_DEVIATION = 0.5
"""The largest that grades in [0, 1] can have."""


@dataclass(frozen=True)
class Plan:
    """What of a period's answers is drawn.

    Args:
        share: Of the answers, 0 to 1.
        grades: Expected in a period.
        needed: For the interval wanted.
        half_width: What the grades expected give; None without any.
        cost: Of the grades expected, in the recipe's unit.
        capped: Whether the cost allowed, not the interval wanted, sets the share.
        deviation: Of the grades, as it was taken.
    """

    share: float
    grades: int
    needed: int
    half_width: float | None
    cost: float
    capped: bool
    deviation: float


def needed(half_width: float, *, confidence: float, deviation: float = WORST_DEVIATION) -> int:
    """Return how many independent grades give an interval of a half width.

    Args:
        half_width: Above 0.
        confidence: In (0, 1).
        deviation: Of single grades, above 0.
    """
    return max(2, math.ceil((_z(confidence) * deviation / half_width) ** 2))


def plan(rules: GradingConfig, *, confidence: float, expected: int, deviation: float) -> Plan:
    """Return what to draw of a period's answers.

    Args:
        rules: The interval wanted and the cost allowed.
        confidence: Of the interval.
        expected: Answers in a period.
        deviation: Of single grades; see `deviation_of`.
    """
    wanted = needed(rules.half_width, confidence=confidence, deviation=deviation)
    allowed = wanted
    if rules.cost_at_most is not None:
        allowed = min(wanted, math.floor(rules.cost_at_most / rules.cost + 1e-9))
    share = min(1.0, allowed / expected) if expected else float(allowed > 0)
    grades = min(allowed, expected)
    return Plan(
        share=share,
        grades=grades,
        needed=wanted,
        half_width=_z(confidence) * deviation / math.sqrt(grades) if grades else None,
        cost=grades * rules.cost,
        capped=allowed < wanted,
        deviation=deviation,
    )


def deviation_of(grades: Sequence[float]) -> float:
    """Return the deviation of grades in [0, 1], with one made-up grade half the range off.

    Few grades alike so do not promise that all are: of none it is the worst, 0.5.
    """
    middle = sum(grades) / len(grades) if grades else 0.0
    squares = sum((grade - middle) ** 2 for grade in grades)
    return math.sqrt((WORST_DEVIATION**2 + squares) / (len(grades) + 1))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
