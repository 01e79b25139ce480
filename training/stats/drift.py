"""Whether a mean has left what a reference showed, looked at as often as one likes.

Each value of the present is set beside one of the reference, which is taken once: the difference z
has as its mean the drift. "It is at most the margin" is tested by betting against it, by the
capital of `confidence_sequence`, which may be looked at after every value: by Ville's inequality it
ever reaches 1 / alpha with probability alpha at most, if the hypothesis is true. Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86 (2024). That the
reference is a sample, too, so is in the test, and no bound of its mean is needed; once all of it is
taken, further values change nothing.

What this takes for granted: under the hypothesis each difference's expectation, given those before
it, is at most the margin. So values are of whole conversations, and the reference comes in an order
that has nothing to do with what it says: a pattern of the week that exceeds the margin is an alarm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from training.stats.bootstrap import Interval
from training.stats.confidence_sequence import Floats, Scores, capital

_HALVINGS = 30


@dataclass(frozen=True)
class Drift:
    """A figure's present beside its reference.

    Args:
        reference: Mean of the reference, with an interval that holds at any number of values.
        present: Mean of the present, with such an interval.
        evidence: The largest that the capital has been; the alarm is raised at `needed`.
        needed: 1 / alpha.
        after: Values of the present after which the alarm was raised first; None: it was not.
    """

    reference: Interval
    present: Interval
    evidence: float
    needed: float
    after: int | None


def rise(
    reference: ArrayLike, present: ArrayLike, *, margin: float, alpha: float, confidence: float
) -> Drift:
    """Test whether a mean rose by more than a margin.

    Args:
        reference: (n,) values in [0, 1], at least one, in an order that does not depend on them.
        present: (m,) values in [0, 1] in the order in which they came, at least one.
        margin: What is tolerated, in [0, 1).
        alpha: Probability of a false alarm at most, at any number of looks, in (0, 1).
        confidence: Of the intervals.

    Raises:
        ValueError: There are no values on a side, or one is out of its range.
    """
    known, now = _checked(reference), _checked(present)
    count = min(known.size, now.size)
    apart = _as_scores(now[:count] - known[:count], least=-1.0, first=0.0, variance=0.5)
    grown = capital(apart, margin)
    over = np.flatnonzero(grown >= 1 / alpha)
    return Drift(
        reference=interval(known, confidence=confidence),
        present=interval(now, confidence=confidence),
        evidence=float(grown.max()),
        needed=1 / alpha,
        after=int(over[0]) + 1 if over.size else None,
    )


def fall(
    reference: ArrayLike, present: ArrayLike, *, margin: float, alpha: float, confidence: float
) -> Drift:
    """Test whether a mean fell by more than a margin; arguments and errors are those of `rise`."""
    known, now = _checked(reference), _checked(present)
    turned = rise(1 - known, 1 - now, margin=margin, alpha=alpha, confidence=confidence)
    return Drift(
        _turned(turned.reference),
        _turned(turned.present),
        turned.evidence,
        turned.needed,
        turned.after,
    )


def interval(values: ArrayLike, *, confidence: float) -> Interval:
    """Return a mean with an interval that holds at any number of values, looked at after each.

    Args:
        values: (n,) in [0, 1], in their order, at least one.
        confidence: Coverage at least, at all times together, in (0, 1).

    Raises:
        ValueError: There is no value, or one is out of its range.
    """
    x = _checked(values)
    alpha = (1 - confidence) / 2
    low, high = _lower(x, alpha), 1 - _lower(1 - x, alpha)
    return Interval(float(x.mean()), low, high, confidence, int(x.size))


def _lower(x: Floats, alpha: float) -> float:
    scored = _as_scores(x, least=0.0, first=0.5, variance=0.25)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        null = (low + high) / 2
        if float(capital(scored, null).max()) >= 1 / alpha:
            low = null
        else:
            high = null
    return low


def _as_scores(x: Floats, *, least: float, first: float, variance: float) -> Scores:
    """Return values as the bet takes them: mean and variance guessed from those before.

    Args:
        x: (n,) values.
        least: What they could be.
        first: A made-up value before the first,
        variance: and what it is off by, squared: the largest variance.
    """
    seen = np.arange(1, x.size + 1)
    mean = (first + _before(x)) / seen
    spread = np.sqrt((variance + _before((x - mean) ** 2)) / seen)
    return Scores(x, np.full_like(x, least), 1 / spread**2, spread)


def _before(values: Floats) -> Floats:
    return np.cumsum(values) - values


def _turned(one: Interval) -> Interval:
    return Interval(1 - one.mean, 1 - one.high, 1 - one.low, one.confidence, one.count)


def _checked(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or x.min() < 0 or x.max() > 1:
        raise ValueError(f"at least one value, each in [0, 1], is wanted; got shape {x.shape}")
    return x
