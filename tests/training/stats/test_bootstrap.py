import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.stats import bootstrap

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=40)


def test_a_large_sample_has_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    interval = bootstrap.mean(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


@pytest.mark.parametrize("size", [5, 10, 40])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(size: int) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(400):
        interval = bootstrap.mean(rng.normal(1, 1, size=size), resamples=800, seed=seed)
        hits += interval.low <= 1 <= interval.high
    assert hits / 400 > 0.92


def test_conversations_are_resampled_whole() -> None:
    """Ten copies of ten values know no more than the ten values."""
    values = np.random.default_rng(2).normal(size=10)
    groups = [str(n) for n in range(10)]
    alone = bootstrap.mean(values, groups=groups)
    copies = bootstrap.mean(np.tile(values, 10), groups=groups * 10)
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))
    blind = bootstrap.mean(np.tile(values, 10))
    assert blind.high - blind.low < 0.5 * (alone.high - alone.low)


def test_a_paired_difference_is_tighter_than_the_two_means_apart() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 5, size=50)
    difference = bootstrap.paired(hard + 1 + rng.normal(0, 0.1, 50), hard)
    assert 0.9 < difference.low < 1 < difference.high < 1.1


@given(VALUES, st.integers(0, 5))
def test_an_interval_lies_within_the_data_and_is_repeatable(values: list[float], seed: int) -> None:
    interval = bootstrap.mean(values, resamples=200, seed=seed)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert bootstrap.mean(values, resamples=200, seed=seed) == interval


@given(VALUES, st.floats(-10, 10))
def test_shifting_the_data_shifts_the_interval(values: list[float], by: float) -> None:
    a = bootstrap.mean(values, resamples=200)
    b = bootstrap.mean([v + by for v in values], resamples=200)
    assert (b.low, b.high) == pytest.approx((a.low + by, a.high + by), abs=1e-6)


@given(VALUES)
def test_swapping_the_two_mirrors_the_difference(values: list[float]) -> None:
    other = [0.0] * len(values)
    a = bootstrap.paired(values, other, resamples=200)
    b = bootstrap.paired(other, values, resamples=200)
    assert (b.low, b.high) == pytest.approx((-a.high, -a.low), abs=1e-6)


def test_more_confidence_is_wider() -> None:
    values = np.random.default_rng(4).normal(size=30)
    narrow, wide = (bootstrap.mean(values, confidence=c) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("values", "groups"), [([], None), ([1.0], None), ([1.0, 2.0], ["a", "a"]), ([1.0, 2.0], ["a"])]
)
def test_too_few_values_are_refused(values: list[float], groups: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"at least two|groups"):
        bootstrap.mean(values, groups=groups)


def test_pairs_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        bootstrap.paired([1.0, 2.0], [1.0])


def test_a_statistic_of_sums_agrees_with_the_mean_that_it_is() -> None:
    values = np.random.default_rng(5).normal(size=30)
    sums = np.stack([values, np.ones(30)], axis=1)
    ratio = bootstrap.statistic(sums, lambda s: s[:, 0] / s[:, 1])
    plain = bootstrap.mean(values)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((plain.mean, plain.low, plain.high))
    with pytest.raises(ValueError, match="at least two groups"):
        bootstrap.statistic(sums[:1], lambda s: s[:, 0])


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (2, 4.303), (30, 2.042)])
def test_student_s_quantile_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert bootstrap.student_quantile(degrees, 0.95) == pytest.approx(quantile, abs=5e-4)
