"""Differences of medians between two arms, with intervals, by resampling conversations.

Times are skewed: one agent who fetches a coffee outweighs fifty replies in a mean, and nothing in a
median. The percentile bootstrap of a median over whole groups, widened as in `bootstrap.py`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.stats.bootstrap import Interval, tail_share

LEAST = 5
"""Values of each arm without which a stratum shows nothing."""

_BLOCK = 1 << 22  # weights held at once: 32 MiB


def difference(
    values: ArrayLike,
    treated: Sequence[bool],
    groups: Sequence[str],
    *,
    strata: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of median(untreated) - median(treated).

    With strata it is the mean of the strata's differences, each counting by its treated values, so
    that arms that lie differently over the strata are not compared across them (direct
    standardisation).

    Args:
        values: (n,) such as seconds.
        treated: (n,) arm of each.
        groups: (n,) conversation of each; they are resampled whole.
        strata: (n,) such as positions; None is one stratum.
        weights: (n,) weight of each, such as one over its arm's probability; None weighs all alike.
        resamples: Number of bootstrap resamples.
        confidence: Coverage aimed at, in (0, 1).
        seed: The same seed gives the same interval.

    Returns:
        The interval, whose `count` is the number of values used; None if no stratum has `LEAST`
        values of each arm, from two groups each.
    """
    x, arm = np.asarray(values, dtype=float), np.asarray(treated, dtype=bool)
    weight = np.ones(x.size) if weights is None else np.asarray(weights, dtype=float)
    stratum = np.asarray(["all"] * x.size if strata is None else list(strata))
    labels = np.unique(np.asarray(list(groups)), return_inverse=True)[1] if x.size else np.array([])
    cells, shares, fewest, used = [], [], x.size, 0
    for name in np.unique(stratum):
        arms = [np.flatnonzero((stratum == name) & (arm == side)) for side in (False, True)]
        counts = [len(np.unique(labels[rows])) for rows in arms]
        if min(len(rows) for rows in arms) < LEAST or min(counts) < 2:
            continue
        cells.append([rows[np.argsort(x[rows], kind="stable")] for rows in arms])
        shares.append(len(arms[1]))
        fewest = min(fewest, *counts)
        used += sum(len(rows) for rows in arms)
    if not cells:
        return None
    share = np.asarray(shares) / sum(shares)

    def estimate(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        found = [
            _medians(x[untreated], counts[:, untreated]) - _medians(x[mine], counts[:, mine])
            for untreated, mine in cells
        ]
        return np.asarray(share @ np.asarray(found))

    rng = np.random.default_rng(seed)
    total = int(labels.max()) + 1
    even = np.full(total, 1 / total)
    draws = []
    step = max(1, _BLOCK // x.size)
    for start in range(0, resamples, step):
        drawn = rng.multinomial(total, even, size=min(step, resamples - start))
        draws.append(estimate(drawn[:, labels] * weight))
    tail = tail_share(fewest, confidence)
    low, high = np.nanquantile(np.concatenate(draws), [tail, 1 - tail])
    middle = float(estimate(weight[np.newaxis])[0])
    return Interval(middle, float(low), float(high), confidence, used)


def _medians(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of sorted values under each row of weights; NaN where all are zero.

    Args:
        values: (n,) ascending.
        weights: (resamples, n).
    """
    sums = np.cumsum(weights, axis=1)
    total = sums[:, -1:]
    low = values[np.argmax(sums * 2 >= total * (1 - 1e-12), axis=1)]
    high = values[np.argmax(sums * 2 > total * (1 + 1e-12), axis=1)]
    return np.where(total[:, 0] > 0, (low + high) / 2, np.nan)
