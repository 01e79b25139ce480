"""Intervals for rates: so many of so many.

Wilson's score interval (Wilson, "Probable Inference, the Law of Succession, and Statistical
Inference", JASA 22, 1927) covers about as often as it says and suits a report. The exact interval
of Clopper and Pearson ("The Use of Confidence or Fiducial Limits Illustrated in the Case of the
Binomial", Biometrika 26, 1934) covers at least as often, so rules that must hold use it. Unlike the
bootstrap, both know that none of twenty is not none at all.

The trials must be independent: count conversations, not their turns.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from training.bootstrap import Interval

_HALVINGS = 60  # of [0, 1]: beyond a double's precision


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
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    rate = successes / trials
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = rate * (1 - rate) / trials + z2 / (4 * trials**2)
    half = math.sqrt(z2 * spread) / (1 + z2 / trials)
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return Interval(rate, low, high, confidence, trials)


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return the exact interval of a rate; arguments and errors are those of `wilson`."""
    _check(successes, trials)
    tail = (1 - confidence) / 2
    return Interval(
        successes / trials,
        _lower(successes, trials, tail),
        1 - _lower(trials - successes, trials, tail),
        confidence,
        trials,
    )


def _lower(successes: int, trials: int, tail: float) -> float:
    """Return the rate at which `successes` or more would come up with probability `tail`."""
    if successes == 0:
        return 0.0
    counts = np.arange(successes, trials + 1)
    log_choices = _log_choose(trials, counts)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        logs = log_choices + counts * math.log(rate) + (trials - counts) * math.log1p(-rate)
        if float(np.exp(logs).sum()) < tail:
            low = rate
        else:
            high = rate
    return (low + high) / 2


def _log_choose(trials: int, counts: NDArray[np.int_]) -> NDArray[np.float64]:
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    chosen = log_factorials[trials] - log_factorials[counts] - log_factorials[trials - counts]
    return np.asarray(chosen, dtype=np.float64)


def _check(successes: int, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a rate")
