import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.stats.medians import difference

SECONDS = st.lists(st.floats(0, 1e4), min_size=12, max_size=30)


def halves(values: list[float]) -> tuple[list[bool], list[str]]:
    treated = [n % 2 == 0 for n in range(len(values))]
    return treated, [f"c{n // 3}" for n in range(len(values))]


@given(SECONDS)
def test_it_is_the_difference_of_numpy_s_medians(values: list[float]) -> None:
    treated, groups = halves(values)
    found = difference(values, treated, groups, resamples=50)
    assert found is not None
    arm = np.array(treated)
    expected = np.median(np.array(values)[~arm]) - np.median(np.array(values)[arm])
    assert found.mean == pytest.approx(expected)
    assert found.low <= found.high
    assert found.count == len(values)


@given(SECONDS, st.floats(-100, 100))
def test_swapping_the_arms_turns_it_round_and_a_shift_of_all_changes_nothing(
    values: list[float], shift: float
) -> None:
    treated, groups = halves(values)
    found = difference(values, treated, groups, resamples=100)
    turned = difference(values, [not one for one in treated], groups, resamples=100)
    moved = difference([v + shift for v in values], treated, groups, resamples=100)
    assert found is not None
    assert turned is not None
    assert moved is not None
    assert turned.mean == pytest.approx(-found.mean)
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (found.mean, found.low, found.high), abs=1e-6
    )


def test_strata_are_not_compared_with_one_another() -> None:
    """Simpson: within either position used answers are 10 s quicker, over both they are slower."""
    rows = [(20.0, True, "middle")] * 30 + [(30.0, False, "middle")] * 6
    rows += [(5.0, True, "opening")] * 6 + [(15.0, False, "opening")] * 30
    values, treated, strata = zip(*rows, strict=True)
    groups = [f"c{n}" for n in range(len(rows))]
    pooled = difference(values, treated, groups)
    found = difference(values, treated, groups, strata=strata)
    assert pooled is not None
    assert found is not None
    assert pooled.mean == -5
    assert (found.mean, found.low, found.high) == (10, 10, 10)


def test_a_stratum_counts_by_its_treated_values() -> None:
    rows = [(1.0, True, "a")] * 30 + [(5.0, False, "a")] * 5
    rows += [(1.0, True, "b")] * 10 + [(9.0, False, "b")] * 5
    values, treated, strata = zip(*rows, strict=True)
    found = difference(values, treated, [str(n) for n in range(len(rows))], strata=strata)
    assert found is not None
    assert found.mean == pytest.approx(0.75 * 4 + 0.25 * 8)


def test_weights_count_as_so_many_values() -> None:
    values = [1.0, 2, 3, 4, 5, 10, 10, 10, 10, 10]
    treated = [True] * 5 + [False] * 5
    groups = [str(n) for n in range(10)]
    found = difference(values, treated, groups, weights=[1, 1, 1, 1, 9] + [1] * 5)
    assert found is not None
    assert found.mean == 10 - 5


@pytest.mark.parametrize("treated", [[True] * 4 + [False] * 9, [True] * 13])
def test_too_few_values_of_an_arm_show_nothing(treated: list[bool]) -> None:
    assert difference([1.0] * 13, treated, [str(n) for n in range(13)]) is None


def test_one_conversation_shows_nothing() -> None:
    assert difference([1.0] * 12, [True] * 6 + [False] * 6, ["c"] * 12) is None
    assert difference([], [], []) is None


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    """80 conversations of three skewed times each; the true difference is 4 s."""
    rng = np.random.default_rng(0)
    hits, runs = 0, 150
    for run in range(runs):
        treated = rng.random(240) < 0.5
        base = np.where(treated, 8.0, 12.0)
        values = base * np.exp(rng.normal(0, 0.5, 240))
        groups = [f"c{n // 3}" for n in range(240)]
        found = difference(values, list(treated), groups, resamples=300, seed=run)
        assert found is not None
        hits += found.low <= 4 <= found.high
    assert 0.90 <= hits / runs <= 0.99
