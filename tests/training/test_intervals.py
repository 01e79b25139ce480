import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.intervals import clopper_pearson, wilson

# Newcombe, "Two-sided confidence intervals for the single proportion: comparison of seven methods",
# Statistics in Medicine 17 (1998), table I: methods 3 (Wilson) and 5 (Clopper-Pearson), 95 %.
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("successes", "trials", "score", "exact"), NEWCOMBE)
def test_intervals_are_those_that_newcombe_published(
    successes: int, trials: int, score: tuple[float, float], exact: tuple[float, float]
) -> None:
    for found, published in (
        (wilson(successes, trials), score),
        (clopper_pearson(successes, trials), exact),
    ):
        assert (round(found.low, 4), round(found.high, 4)) == published
        assert (found.mean, found.count) == (successes / trials, trials)


def test_the_exact_interval_is_the_one_in_scipy_s_documentation() -> None:
    found = clopper_pearson(7, 50)  # scipy.stats.binomtest(7, 50).proportion_ci()
    assert found.low == pytest.approx(0.05819170033997342, abs=1e-9)
    assert found.high == pytest.approx(0.26739600249700846, abs=1e-9)


def test_nothing_of_many_has_the_closed_form() -> None:
    assert clopper_pearson(0, 1000).high == pytest.approx(1 - 0.025 ** (1 / 1000))


@given(st.integers(1, 400), st.data(), st.floats(0.5, 0.999))
def test_intervals_hold_the_rate_mirror_and_widen(
    trials: int, data: st.DataObject, confidence: float
) -> None:
    successes = data.draw(st.integers(0, trials))
    for method in (wilson, clopper_pearson):
        found = method(successes, trials, confidence=confidence)
        mirror = method(trials - successes, trials, confidence=confidence)
        wider = method(successes, trials, confidence=(1 + confidence) / 2)
        assert 0 <= found.low <= found.mean <= found.high <= 1
        assert found.low == pytest.approx(1 - mirror.high, abs=1e-9)
        assert wider.low <= found.low + 1e-12
        assert wider.high >= found.high - 1e-12


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_the_exact_interval_covers_at_least_as_often_as_it_says(rate: float) -> None:
    trials = 40
    counts = np.arange(trials + 1)
    logs = np.cumsum(np.log(np.concatenate([[1], np.arange(1, trials + 1)])))
    mass = np.exp(
        logs[-1] - logs - logs[::-1] + counts * np.log(rate) + (trials - counts) * np.log1p(-rate)
    )
    found = [clopper_pearson(int(count), trials) for count in counts]
    covered = np.array([interval.low <= rate <= interval.high for interval in found])
    assert mass[covered].sum() >= 0.95


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_rate_is_refused(successes: int, trials: int) -> None:
    for method in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="is not a rate"):
            method(successes, trials)
