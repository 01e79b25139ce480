"""Intervals for means and for differences of means, by resampling.

The percentile bootstrap (Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of
Statistics 7, 1979; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
The plain percentile interval is too narrow on few examples; it is widened as Hesterberg proposes
("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015),
by the factor at which Student's interval exceeds the normal one that ignores the sample's bias.

Two models are compared on the same examples, so their difference is resampled, not the two apart.
Examples of one conversation resemble each other, so conversations are resampled, whole.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

_BLOCK = 1 << 22  # resampled counts held at once: 32 MiB


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Args:
        mean: Over all values.
        low: Lower end.
        high: Upper end.
        confidence: Such as 0.95.
        count: Number of values.
    """

    mean: float
    low: float
    high: float
    confidence: float
    count: int


def paired(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the interval of the mean difference `treatment - control`.

    Args:
        treatment: (examples,) values.
        control: (examples,) values of the same examples.
        groups: (examples,) conversation of each; None resamples single examples.
        resamples: Number of bootstrap resamples.
        confidence: Coverage aimed at, in (0, 1).
        seed: The same seed gives the same interval.

    Raises:
        ValueError: There are fewer than two values or groups, or the lengths differ.
    """
    a, b = np.asarray(treatment, dtype=float), np.asarray(control, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"paired values differ in number: {a.shape} and {b.shape}")
    return mean(a - b, groups=groups, resamples=resamples, confidence=confidence, seed=seed)


def mean(
    values: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the interval of a mean; the arguments are those of `paired`.

    Raises:
        ValueError: There are fewer than two values or groups, or `groups` has another length.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1:
        raise ValueError(f"values must be one-dimensional, got shape {x.shape}")
    if groups is not None and len(groups) != x.size:
        raise ValueError(f"{x.size} values but {len(groups)} groups")
    labels = np.arange(x.size) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(labels, weights=x).astype(np.float64)
    sizes = np.bincount(labels).astype(np.float64)
    if len(sums) < 2:
        raise ValueError("an interval needs at least two values from different groups")
    means = _resampled(sums, sizes, resamples, seed)
    tail = tail_share(len(sums), confidence)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(x.mean()), float(low), float(high), confidence, int(x.size))


def statistic(
    sums: ArrayLike,
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the interval of what is computed from sums over groups, such as of counts.

    Args:
        sums: (groups, width) each group's own sums.
        of: (n, width) sums over all groups to (n,) values of the statistic.
        resamples: Number of bootstrap resamples.
        confidence: Coverage aimed at, in (0, 1).
        seed: The same seed gives the same interval.

    Raises:
        ValueError: There are fewer than two groups.
    """
    x = np.asarray(sums, dtype=float)
    count, width = x.shape
    if count < 2:
        raise ValueError("an interval needs at least two groups")
    rng = np.random.default_rng(seed)
    found = np.empty(resamples)
    step = max(1, _BLOCK // (count * width))
    for start in range(0, resamples, step):
        stop = min(resamples, start + step)
        drawn = rng.integers(0, count, size=(stop - start, count))
        found[start:stop] = of(x[drawn].sum(axis=1))
    tail = tail_share(count, confidence)
    low, high = np.quantile(found, [tail, 1 - tail])
    value = float(of(x.sum(axis=0, keepdims=True))[0])
    return Interval(value, float(low), float(high), confidence, count)


def tail_share(count: int, confidence: float) -> float:
    """Return the share of resamples beyond each end: (1 - confidence) / 2 for many groups."""
    t = student_quantile(count - 1, confidence)
    return NormalDist().cdf(-t * math.sqrt(count / (count - 1)))


def student_quantile(v: int, confidence: float) -> float:
    """Return the two-sided quantile of Student's distribution with `v` degrees of freedom."""
    return float(stdtrit(v, (1 + confidence) / 2))


def _resampled(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the mean of each resample of groups, drawn with replacement."""
    rng = np.random.default_rng(seed)
    count = len(sums)
    out = np.empty(resamples)
    step = max(1, _BLOCK // count)
    for start in range(0, resamples, step):
        stop = min(resamples, start + step)
        drawn = rng.integers(0, count, size=(stop - start, count))
        out[start:stop] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return out
