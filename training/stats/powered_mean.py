"""The mean of what people would say of all, where they said it of a sample and a machine of all.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan and Zrnic,
"Prediction-powered inference", Science 382, 2023): the machine's mean over all, plus the mean by
which people differ from it on the sample. However wrong the machine is, the estimate is unbiased;
the better it is, the less the difference varies and the shorter is the interval. The machine's part
is weighted so that the estimated variance is least ("PPI++", Angelopoulos, Duchi and Zrnic, 2023,
arXiv:2311.01453), between 0, which is people's mean alone, and 1.

The sample is part of all, and the answers of a conversation resemble each other, so the variance is
that of the linearised estimate summed by conversation, with Student's quantile for few of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.stats.bootstrap import Interval, student_quantile

LEAST = 2
"""Groups with a label, without which there is no interval."""


@dataclass(frozen=True)
class Powered:
    """People's mean, with the machine's help and without.

    Args:
        powered: With it; `count` is the number of labels.
        alone: Of people's labels alone.
        weight: Of the machine's part, 0 to 1.
    """

    powered: Interval
    alone: Interval
    weight: float


def mean(
    predicted: ArrayLike,
    labels: ArrayLike,
    *,
    groups: Sequence[str],
    confidence: float = 0.95,
) -> Powered | None:
    """Estimate the mean label over all.

    Args:
        predicted: (n,) the machine's value of each, in [0, 1].
        labels: (n,) people's value of each, in [0, 1]; NaN where they were not asked, which must
            have been decided by chance.
        groups: (n,) what each belongs to, such as its conversation.
        confidence: Coverage aimed at, in (0, 1).

    Returns:
        None where fewer than `LEAST` groups have a label.

    Raises:
        ValueError: Lengths differ, or a value is out of its range.
    """
    machine, people = np.asarray(predicted, np.float64), np.asarray(labels, np.float64)
    if machine.ndim != 1 or machine.shape != people.shape or len(groups) != machine.size:
        raise ValueError(
            f"{machine.shape} predictions, {people.shape} labels and {len(groups)} groups"
        )
    asked = ~np.isnan(people)
    for values in (machine, people[asked]):
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("predictions and labels lie in [0, 1]")
    if not asked.any():
        return None
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    counted = len(np.unique(index[asked]))
    if counted < LEAST:
        return None
    n = int(asked.sum())
    centre = float(people[asked].mean())
    a = _by_group(index, np.where(asked, people - centre, 0.0) / n)
    over_all, over_sample = float(machine.mean()), float(machine[asked].mean())
    b = _by_group(index, (machine - over_all) / machine.size)
    b -= _by_group(index, np.where(asked, machine - over_sample, 0.0) / n)
    power = float((b**2).sum())
    weight = min(1.0, max(0.0, -float((a * b).sum()) / power)) if power > 0 else 0.0
    quantile = student_quantile(counted - 1, confidence) * math.sqrt(counted / (counted - 1))

    def around(middle: float, parts: NDArray[np.float64]) -> Interval:
        half = quantile * math.sqrt(float((parts**2).sum()))
        middle = min(1.0, max(0.0, middle))
        return Interval(middle, max(0.0, middle - half), min(1.0, middle + half), confidence, n)

    helped = centre + weight * (over_all - over_sample)
    return Powered(around(helped, a + weight * b), around(centre, a), weight)


def _by_group(index: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.bincount(index, weights=values), np.float64)
