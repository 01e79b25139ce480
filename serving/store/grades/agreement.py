"""How far graders agree: Krippendorff's alpha.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), with the ordinal metric.
Unlike Cohen's kappa it takes any number of graders, of whom each graded some answers only, and
holds one step apart to be nearer than two. 1 is full agreement, 0 what chance would give; he asks
for 0.8, and 0.667 for tentative conclusions (Content Analysis, 2004, ch. 11). The interval is a
percentile bootstrap over answers (Efron 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
LEAST_UNITS = 5
"""With fewer answers that several graded there is no interval worth its name."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How far graders agree.

    Args:
        alpha: Krippendorff's; None where everybody always gave one and the same grade, or where no
            answer has two grades: then nothing is known.
        low: The interval's lower end; None with fewer than `LEAST_UNITS` answers.
        high: Its upper end.
        units: Answers that two or more graded.
        graders: Those who graded any.
    """

    alpha: float | None
    low: float | None
    high: float | None
    units: int
    graders: int


def agreement(given: Sequence[tuple[str, str, int]], levels: int, *, seed: int = 0) -> Agreement:
    """Return the agreement of grades.

    Args:
        given: (unit, grader, grade) each; a grade is its place in the order, from 0.
        levels: How many grades there are.
        seed: Of the bootstrap.
    """
    units: dict[str, list[int]] = {}
    for unit, _, grade in given:
        units.setdefault(unit, []).append(grade)
    each = [_coincidences(grades, levels) for grades in units.values() if len(grades) > 1]
    graders = len({grader for _, grader, _ in given})
    if not each:
        return Agreement(None, None, None, 0, graders)
    tables = np.stack(each)
    (alpha,) = _alphas(tables.sum(axis=0)[None])
    low = high = float("nan")
    if len(each) >= LEAST_UNITS and not np.isnan(alpha):
        drawn = np.random.default_rng(seed).integers(len(each), size=(RESAMPLES, len(each)))
        # Where a resample holds one grade only, alpha is undefined: it says nothing of the others.
        again = _alphas(np.stack([tables[chosen].sum(axis=0) for chosen in drawn]))
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = np.nanpercentile(again, [tail, 100 - tail])
    return Agreement(_known(alpha), _known(low), _known(high), len(each), graders)


def _coincidences(grades: Sequence[int], levels: int) -> Matrix:
    """Return one unit's part of the coincidence matrix, (levels, levels)."""
    counts = np.bincount(grades, minlength=levels).astype(np.float64)
    return np.asarray((np.outer(counts, counts) - np.diag(counts)) / (len(grades) - 1))


def _alphas(tables: Matrix) -> Matrix:
    """Return alpha of each coincidence matrix, (n, levels, levels) to (n,); NaN: undefined."""
    totals = tables.sum(axis=2)
    n = totals.sum(axis=1)
    up_to = np.cumsum(totals, axis=1)
    # From the middle of one grade to that of the other: the grades between, and half of each end.
    middle = up_to - totals / 2
    apart = (middle[:, :, None] - middle[:, None, :]) ** 2
    observed = (tables * apart).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * apart).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
