"""Whether a mean has left what a reference showed, looked at as often as one likes.

Two steps, each with half of the error. The reference is a sample of fixed size, so an interval of
its mean holds once (`bounded_mean`). The present comes value by value: "its mean is no higher than
the reference's upper end" is tested by betting against it (`confidence_sequence.capital`), which
may be looked at after every value. By Ville's inequality its capital ever reaches 1 / alpha with
probability alpha at most; with the reference's error, by the union bound, that of a false alarm is
the sum. Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B
86 (2024).

What this takes for granted: under the hypothesis each value's expectation, given those before it,
lies within the margin of the reference's mean. So values are of whole conversations, and a pattern
of the week larger than the margin is an alarm unless both windows hold whole weeks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from training.stats import bounded_mean
from training.stats.bootstrap import Interval
from training.stats.confidence_sequence import Floats, Scores, capital

_HALVINGS = 30


@dataclass(frozen=True)
class Drift:
    """A figure's present beside its reference.

    Args:
        reference: Mean of the reference; its ends hold together with the alarm's probability.
        present: Mean of the present, with an interval that holds at any number of values.
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
        reference: (n,) independent values in [0, 1], at least one.
        present: (m,) values in [0, 1] in the order in which they came, at least one.
        margin: What is tolerated.
        alpha: Probability of a false alarm at most, at any number of looks, in (0, 1).
        confidence: Of the present's interval.

    Raises:
        ValueError: There are no values on a side, or one is out of its range.
    """
    known, now = _checked(reference), _checked(present)
    names = [str(number) for number in range(known.size)]
    before = bounded_mean.interval(known, groups=names, bounds=(0.0, 1.0), confidence=1 - alpha)
    needed = 2 / alpha
    limit = before.high + margin
    grown = capital(_as_scores(now), limit) if limit < 1 else np.zeros_like(now)
    over = np.flatnonzero(grown >= needed)
    return Drift(
        reference=before,
        present=interval(now, confidence=confidence),
        evidence=float(grown.max()),
        needed=needed,
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
    scored = _as_scores(x)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        null = (low + high) / 2
        if float(capital(scored, null).max()) >= 1 / alpha:
            low = null
        else:
            high = null
    return low


def _as_scores(x: Floats) -> Scores:
    """Return values as the bet takes them: deviation and variance guessed from those before."""
    seen = np.arange(1, x.size + 1)  # with one made-up value of 0.5 before the first
    mean = (0.5 + _before(x)) / seen
    spread = np.sqrt((0.25 + _before((x - mean) ** 2)) / seen)
    return Scores(x, np.zeros_like(x), 1 / spread**2, spread)


def _before(values: Floats) -> Floats:
    return np.cumsum(values) - values


def _turned(one: Interval) -> Interval:
    return Interval(1 - one.mean, 1 - one.high, 1 - one.low, one.confidence, one.count)


def _checked(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or x.min() < 0 or x.max() > 1:
        raise ValueError(f"at least one value, each in [0, 1], is wanted; got shape {x.shape}")
    return x
