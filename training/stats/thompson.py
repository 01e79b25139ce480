"""Thompson sampling: shares of traffic for any number of arms, by what is known of each.

An arm's share is the probability that it is the best, given the outcomes so far (Thompson, "On the
likelihood that one unknown probability exceeds another in view of the evidence of two samples",
Biometrika 25, 1933); Scott, "A modern Bayesian look at the multi-armed bandit" (2010), calls it
probability matching. A floor keeps every arm observed, because a share of nothing cannot recover
from early bad luck. This only moves traffic: what ends a canary is the sequential test, which is
valid however the shares came about, as long as only earlier outcomes chose them.

Pure, and written for any number of arms; a route has a live version and one canary, so two today.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 20_000


@dataclass(frozen=True)
class Beta:
    """What is known of a rate: Beta(1, 1) before any trial.

    Args:
        successes: May be fractional, such as the sum of outcomes in [0, 1]; the posterior is then
            wider than it need be.
        trials: Their number.
    """

    successes: float
    trials: float

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return draws from the posterior."""
        return rng.beta(1 + self.successes, 1 + self.trials - self.successes, count)


@dataclass(frozen=True)
class Normal:
    """What is known of a mean of values in [0, 1]: N(1/2, 1/4) before any value.

    Args:
        mean: Of the posterior.
        deviation: Of the posterior.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Normal":
        """Return the posterior given values; their variance is estimated, with a little prior."""
        count = len(values)
        mean = sum(values) / count if count else 0.0
        variance = (0.25 + sum((value - mean) ** 2 for value in values)) / (1 + count)
        precision = 4 + count / variance
        return cls((4 * 0.5 + count / variance * mean) / precision, math.sqrt(1 / precision))

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return draws from the posterior."""
        return rng.normal(self.mean, self.deviation, count)


def shares(
    arms: Mapping[str, Beta | Normal], *, floor: float, draws: int = DRAWS, seed: int = 0
) -> dict[str, float]:
    """Return each arm's share: the probability that it is the best, and at least `floor`.

    Args:
        arms: What is known of each; more is better.
        floor: Least share of an arm; at most 1 / number of arms.
        draws: From each posterior; the shares are exact to about half a percentage point.
        seed: The same seed gives the same shares.

    Raises:
        ValueError: There are no arms, or the floor leaves them more than there is.
    """
    if not arms or floor < 0 or floor * len(arms) > 1:
        raise ValueError(f"a floor of {floor} does not suit {len(arms)} arms")
    rng = np.random.default_rng(seed)
    drawn = np.stack([arm.draw(rng, draws) for arm in arms.values()])
    best = np.bincount(drawn.argmax(axis=0), minlength=len(arms)) / draws
    left = 1 - floor * len(arms)
    return {name: floor + left * float(share) for name, share in zip(arms, best, strict=True)}
