"""An interval for the mean of bounded values that holds at any number of them: by betting.

Where most values are equal, as differences of rare events are, resampling shows nothing but what it
saw: of twenty zeros the bootstrap's interval is [0, 0], and Student's is no better. The interval
here knows that none of twenty is not none at all. To test "the mean is at most m" one stakes a part
of one's capital on each value's excess over m, such that it cannot be lost whole; under the
hypothesis the capital is at least 1 / alpha with probability alpha at most (Markov), whatever the
values' distribution. The m not refuted are the interval. Waudby-Smith and Ramdas, "Estimating means
of bounded random variables by betting", JRSS-B 86 (2024). The stakes are constant, a mixture of
them (Robbins 1970), so that the order of the values does not matter.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.stats.bootstrap import Interval

STAKES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.95)
WEIGHTS = (0.15, 0.15, 0.15, 0.15, 0.15, 0.25)
"""Parts of the capital at stake, and of the capital on each; most on what rare events need."""

_HALVINGS = 40


def interval(
    values: ArrayLike,
    *,
    groups: Sequence[str],
    bounds: tuple[float, float] = (-1.0, 1.0),
    confidence: float = 0.95,
) -> Interval:
    """Return the interval of a mean over groups, each counted once.

    Args:
        values: (examples,) within the bounds.
        groups: (examples,) what each belongs to, such as its conversation. Groups are independent;
            a group's value is the mean of its examples'.
        bounds: The least and the largest value that there could be.
        confidence: Coverage at least, in (0, 1).

    Returns:
        The mean over groups with its interval; `count` is the groups' number.

    Raises:
        ValueError: There is no value, one is out of bounds, or the lengths differ.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(groups) != x.size or not x.size:
        raise ValueError(f"values of shape {x.shape} but {len(groups)} groups")
    least, most = bounds
    if x.min() < least or x.max() > most:
        raise ValueError(f"values from {x.min()} to {x.max()} are not within {bounds}")
    labels = np.unique(groups, return_inverse=True)[1]
    means = np.bincount(labels, weights=x) / np.bincount(labels)
    alpha = (1 - confidence) / 2
    low = _lower(means, least, most, alpha)
    high = -_lower(-means, -most, -least, alpha)
    return Interval(float(means.mean()), low, high, confidence, len(means))


def needed(margin: float, *, confidence: float = 0.95) -> int:
    """Return how many groups without any event show that a mean difference is within a margin.

    Args:
        margin: In (0, 1), of differences within [-1, 1].
        confidence: Of the two-sided interval, in (0, 1).

    Raises:
        ValueError: The margin is out of its range.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin lies between 0 and 1, not {margin}")
    alpha, count = (1 - confidence) / 2, 1
    while _log_capital(np.zeros(1), -margin, -1.0, count) < -np.log(alpha):
        count += 1
    return count


def _lower(means: NDArray[np.float64], least: float, most: float, alpha: float) -> float:
    low, high = least, most
    for _ in range(_HALVINGS):
        null = (low + high) / 2
        if _log_capital(means, null, least) >= -np.log(alpha):
            low = null
        else:
            high = null
    return low


def _log_capital(means: NDArray[np.float64], null: float, least: float, times: int = 1) -> float:
    """Return the logarithm of the evidence that the mean exceeds `null`."""
    stakes = np.asarray(STAKES)[:, None] / (null - least)
    grown = times * np.log1p(stakes * (means - null)).sum(axis=1)
    return float(np.logaddexp.reduce(grown + np.log(WEIGHTS)))
