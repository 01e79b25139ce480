"""Whether the arms of a randomised experiment have the sizes that their shares say.

A sample-ratio mismatch means that conversations of one arm are lost, or are counted twice, and then
no other figure may be believed (Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online
Controlled Experiments", KDD 2019). The test may be looked at after every conversation: a mixture of
bets on A - p, which under the stated shares is a martingale (Lindon and Malek, "Anytime-Valid
Inference for Multinomial Count Data", NeurIPS 2022, have the same test with a Dirichlet mixture and
a constant share).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SIZES = (0.01, 0.03, 0.1, 0.3, 0.9)
"""Parts of the capital at stake, on either side."""


def capital(canary: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """Return the evidence against the stated shares, after each conversation.

    Args:
        canary: (..., conversations) whether each is the canary's.
        share: (..., conversations) probability with which it would be, in (0, 1).

    Returns:
        (..., conversations). Above 1 / alpha at any time, it refutes the shares at level alpha.

    Raises:
        ValueError: A share is not within (0, 1).
    """
    a, p = np.asarray(canary, dtype=np.float64), np.asarray(share, dtype=np.float64)
    if not (np.all(p > 0) and np.all(p < 1)):
        raise ValueError("shares lie in (0, 1)")
    surplus, total = a - p, np.zeros_like(a)
    with np.errstate(over="ignore", under="ignore"):
        for size in _SIZES:  # a bet loses p at most on a surplus, and 1 - p on a lack
            total += np.cumprod(1 + size / p * surplus, axis=-1)
            total += np.cumprod(1 - size / (1 - p) * surplus, axis=-1)
    return total / (2 * len(_SIZES))


def mismatched(canary: ArrayLike, share: ArrayLike, alpha: float) -> bool:
    """Return whether the shares were refuted at any time so far; arguments as `capital`'s."""
    found = capital(canary, share)
    return bool(found.size) and float(found.max()) >= 1 / alpha
