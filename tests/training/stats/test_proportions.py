import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.stats.proportions import clopper_pearson, wilson, wilson_clustered

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


def test_with_groups_of_one_it_is_nearly_wilson_s() -> None:
    successes = [n < 81 for n in range(263)]
    plain = wilson(81, 263)
    found = wilson_clustered(successes, [str(n) for n in range(263)])
    assert (found.mean, found.count) == (plain.mean, 263)
    assert found.low == pytest.approx(plain.low, abs=2e-3)
    assert found.high == pytest.approx(plain.high, abs=2e-3)


def test_groups_that_agree_within_count_as_one_trial_each() -> None:
    groups = [f"c{n // 5}" for n in range(200)]
    found = wilson_clustered([n // 5 % 2 == 0 for n in range(200)], groups)
    assert found.low == pytest.approx(wilson(20, 40).low, abs=0.01)
    assert found.high == pytest.approx(wilson(20, 40).high, abs=0.01)


def test_all_of_many_turns_is_no_more_than_all_of_their_conversations() -> None:
    found = wilson_clustered([True] * 100, [f"c{n // 10}" for n in range(100)])
    assert found.high == 1
    assert found.low < wilson(10, 10).low
    assert wilson_clustered([True] * 9, ["c"] * 9).low == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=80))
def test_a_clustered_interval_holds_its_rate_and_mirrors(rows: list[tuple[bool, int]]) -> None:
    successes, groups = [one for one, _ in rows], [str(group) for _, group in rows]
    found = wilson_clustered(successes, groups)
    mirror = wilson_clustered([not one for one in successes], groups)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.low == pytest.approx(1 - mirror.high, abs=1e-9)
    if len(set(groups)) > 1:
        plain = wilson(sum(successes), len(successes))
        assert found.high - found.low >= plain.high - plain.low - 1e-9


@pytest.mark.parametrize(("rate", "alike"), [(0.5, 2.0), (0.9, 1.0)])
def test_a_clustered_interval_covers_about_as_often_as_it_says(rate: float, alike: float) -> None:
    """Forty conversations of one to five turns, their rates from a beta distribution."""
    rng = np.random.default_rng(1)
    hits = plain = 0
    runs = 600
    for _ in range(runs):
        sizes = rng.integers(1, 6, 40)
        rates = np.repeat(rng.beta(rate * alike, (1 - rate) * alike, 40), sizes)
        successes = rng.random(sizes.sum()) < rates
        groups = np.repeat(np.arange(40), sizes).astype(str).tolist()
        found = wilson_clustered(successes.tolist(), groups)
        naive = wilson(int(successes.sum()), len(groups))
        hits += found.low <= rate <= found.high
        plain += naive.low <= rate <= naive.high
    assert 0.925 <= hits / runs <= 0.98
    assert plain / runs < hits / runs
