"""Intervals for rates: so many of so many.

Wilson's score interval (Wilson, "Probable Inference, the Law of Succession, and Statistical
Inference", JASA 22, 1927) covers about as often as it says and suits a report. The exact interval
of Clopper and Pearson ("The Use of Confidence or Fiducial Limits Illustrated in the Case of the
Binomial", Biometrika 26, 1934) covers at least as often, so rules that must hold use it. Unlike the
bootstrap, both know that none of twenty is not none at all.

The trials must be independent: count conversations, not their turns; or, where a rate over turns is
wanted, use `wilson_clustered`, which knows which turns belong together.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.special import betaincinv

from training.stats.bootstrap import Interval, student_quantile


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a rate.

    Args:
        successes: How many of the trials.
        trials: At least one.
        confidence: Coverage aimed at, in (0, 1).

    Raises:
        ValueError: There are no trials, or fewer than successes.
    """
    _check(successes, trials)
    return _score(successes / trials, trials, trials, confidence)


def wilson_clustered(
    successes: Sequence[bool], groups: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """Return Wilson's interval of a rate over trials that come in groups.

    The trials are counted as so many independent ones as would vary as much as the groups do: the
    effective sample size, p (1 - p) / V with V the linearised variance of the rate over groups,
    corrected for few groups by Student's quantile (Korn and Graubard, "Confidence Intervals for
    Proportions with Small Expected Number of Positive Counts Estimated from Survey Data", Survey
    Methodology 24, 1998; with Wilson's interval: Franco, Little, Louis and Slud, "Comparative Study
    of Confidence Intervals for Proportions in Complex Sample Surveys", Journal of Survey
    Statistics and Methodology 7, 2019). Never more than the trials; where all trials agree, as many
    as the groups. One group says nothing: [0, 1].

    Args:
        successes: (trials,) at least one.
        groups: (trials,) what each belongs to, such as its conversation.
        confidence: Coverage aimed at, in (0, 1).

    Raises:
        ValueError: There are no trials, or the lengths differ.
    """
    if len(successes) != len(groups) or not groups:
        raise ValueError(f"{len(successes)} trials but {len(groups)} groups")
    labels = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(labels).astype(np.float64)
    hits = np.bincount(labels, weights=np.asarray(successes, dtype=np.float64))
    trials, count = len(groups), len(sizes)
    rate = float(hits.sum() / trials)
    if count == 1:
        return Interval(rate, 0.0, 1.0, confidence, trials)
    variance = count / (count - 1) * float(((hits - rate * sizes) ** 2).sum()) / trials**2
    spread = rate * (1 - rate)
    effective = float(count) if spread == 0 else min(trials, spread / max(variance, 1e-12))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    effective *= (z / student_quantile(count - 1, confidence)) ** 2
    return _score(rate, effective, trials, confidence)


def _score(rate: float, size: float, trials: int, confidence: float) -> Interval:
    """Return Wilson's interval of a rate seen in `size` independent trials, of `trials` in all."""
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    middle = (rate + z2 / (2 * size)) / (1 + z2 / size)
    spread = rate * (1 - rate) / size + z2 / (4 * size**2)
    half = math.sqrt(z2 * spread) / (1 + z2 / size)
    low = 0.0 if rate == 0 else middle - half
    high = 1.0 if rate == 1 else middle + half
    return Interval(rate, low, high, confidence, trials)


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return the exact interval of a rate; arguments and errors are those of `wilson`."""
    _check(successes, trials)
    tail, failures = (1 - confidence) / 2, trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return Interval(successes / trials, low, high, confidence, trials)


def _check(successes: int, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a rate")
