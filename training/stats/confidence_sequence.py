"""Anytime-valid evidence on the difference between two arms of a randomised experiment.

A test that may be looked at after every conversation, and whose error rate holds all the same.

**The score.** Conversation t goes to the canary (A = 1) with a known probability p by a stable
hash, and its outcome Y lies in [0, 1]. With m a guess of Y from earlier conversations only,

    Z = (Y - m) * (A / p - (1 - A) / (1 - p))

has as its mean the difference canary - control, whatever p is and however it changed before: the
augmented inverse-probability score. Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49 (2021), use it so for
randomised experiments. Pooled means per arm would not do: when the share grows while outcomes
drift with the hour, the arms' means differ without any effect.

**The bet.** To test "the difference is at most d", one stakes a share of one's capital on each
Z - d: K_t = product of 1 + stake_t * (Z_t - d), where the stake is chosen before Z_t is seen and
never so large that capital could be lost whole. Under the hypothesis K is a nonnegative
supermartingale that begins at 1, so by Ville's inequality it ever reaches 1 / alpha with
probability alpha at most, at any number of looks. Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting", JRSS-B 86 (2024). The stakes are Kelly's for a few effect
sizes, from small to large in standard deviations, a fifth of the capital on each: the method of
mixtures (Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of
Mathematical Statistics 41, 1970). The d that are not yet refuted form a confidence sequence; the
capital falls with d, so it is a half-line.

What this takes for granted: the hash is a fair coin, conversations count once and in an order that
does not depend on the arm, and whether a conversation is judged at all does not depend on the arm.
The tests need no more: their hypothesis is that no conversation's expected difference exceeds d.
The bounds, and their estimate, speak of one difference that stays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EFFECTS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Differences in standard deviations of the outcome; on each bets a part of the capital."""

AT_STAKE = 0.75
"""Largest part of the capital that one conversation may cost."""

_HALVINGS = 30


@dataclass(frozen=True)
class Scores:
    """Scores of conversations in their order, time on the last axis.

    Args:
        z: Unbiased for the difference canary - control.
        floor: The least that `z` could have been, known before it was seen.
        weight: 1 / variance of `z`, guessed before it was seen.
        spread: The outcome's standard deviation, guessed before it was seen.
    """

    z: Floats
    floor: Floats
    weight: Floats
    spread: Floats


def scores(outcome: ArrayLike, canary: ArrayLike, share: ArrayLike) -> Scores:
    """Score conversations.

    Args:
        outcome: (..., conversations) in [0, 1], higher better.
        canary: (..., conversations) whether the canary answered.
        share: (..., conversations) probability with which it would, in (0, 1).

    Raises:
        ValueError: A value is out of its range.
    """
    y, a, p = (np.asarray(values, dtype=np.float64) for values in (outcome, canary, share))
    if not (np.all(y >= 0) and np.all(y <= 1) and np.all(p > 0) and np.all(p < 1)):
        raise ValueError("outcomes lie in [0, 1] and shares in (0, 1)")
    seen = np.arange(1, y.shape[-1] + 1)  # with one made-up conversation before the first
    mean = (0.5 + _before(y)) / seen
    spread = np.sqrt((0.25 + _before((y - mean) ** 2)) / seen)
    z = (y - mean) * np.where(a > 0, 1 / p, -1 / (1 - p))
    floor = -np.maximum(mean / p, (1 - mean) / (1 - p))
    weight = p * (1 - p) / spread**2
    return Scores(z, floor, weight, spread)


def capital(scored: Scores, null: float) -> Floats:
    """Return the evidence that the difference exceeds `null`, after each conversation.

    Args:
        scored: (..., conversations) scores.
        null: The hypothesis: the difference is at most this. In (-1, 1).

    Returns:
        (..., conversations). Above 1 / alpha at any time, it refutes the hypothesis at level alpha.
    """
    gain = scored.z - null
    most = AT_STAKE / (null - scored.floor)
    kelly = scored.weight * scored.spread
    total = np.zeros_like(gain)
    with np.errstate(over="ignore", under="ignore"):  # infinite evidence is evidence
        for effect in EFFECTS:
            total += np.cumprod(1 + np.minimum(effect * kelly, most) * gain, axis=-1)
    return total / len(EFFECTS)


def refuted(scored: Scores, null: float, alpha: float) -> bool:
    """Return whether "the difference is at most `null`" was refuted at any time so far."""
    return bool(scored.z.size) and float(capital(scored, null).max()) >= 1 / alpha


def lower_bound(scored: Scores, alpha: float) -> float:
    """Return the lower confidence bound of the difference; it never falls as data come.

    Args:
        scored: (conversations,) scores.
        alpha: Probability that it ever exceeds the true difference.
    """
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        null = (low + high) / 2
        if refuted(scored, null, alpha):
            low = null
        else:
            high = null
    return low


def estimate(scored: Scores) -> float:
    """Return the difference, each conversation weighted by what its share lets it say."""
    if not scored.z.size:
        return 0.0
    weight = scored.weight * scored.spread**2
    return float((weight * scored.z).sum() / weight.sum())


def _before(values: Floats) -> Floats:
    """Return, at each place, the sum of all values before it."""
    sums = np.zeros_like(values)
    np.cumsum(values[..., :-1], axis=-1, out=sums[..., 1:])
    return sums
