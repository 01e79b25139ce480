import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.stats.bounded_mean import interval, needed

NAMES = [str(n) for n in range(1000)]
VALUES = st.lists(st.floats(-1, 1), min_size=1, max_size=60)


@pytest.mark.parametrize("count", [5, 16, 100])
def test_a_true_difference_beyond_the_margin_seldom_hides_behind_no_events(count: int) -> None:
    """A true +0.15 at a margin of 0.1, on which the bootstrap passes 43 % at five values."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(1000):
        gains = -(rng.random(count) < 0.15).astype(float)
        passed += interval(gains, groups=NAMES[:count]).low >= -0.1
    assert passed <= 25


@pytest.mark.parametrize("count", [3, 40])
def test_it_covers_at_least_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(1)
    for draw in (lambda: rng.uniform(-1, 1, count), lambda: rng.choice([-1, 0, 1], count)):
        found = [interval(draw(), groups=NAMES[:count]) for _ in range(400)]
        assert sum(one.low <= 0 <= one.high for one in found) >= 380


@given(VALUES, st.randoms())
def test_the_order_of_the_values_does_not_matter(values: list[float], chance) -> None:
    groups = NAMES[: len(values)]
    both = list(zip(values, groups, strict=True))
    chance.shuffle(both)
    again = interval([v for v, _ in both], groups=[g for _, g in both])
    assert again.low == pytest.approx(interval(values, groups=groups).low, abs=1e-9)


@given(VALUES)
def test_it_holds_its_mean_and_is_turned_with_the_values(values: list[float]) -> None:
    found = interval(values, groups=NAMES[: len(values)])
    assert -1 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= 1
    turned = interval([-v for v in values], groups=NAMES[: len(values)])
    assert turned.low == pytest.approx(-found.high, abs=1e-9)


def test_a_conversation_counts_once_however_many_turns_it_has() -> None:
    assert interval([0.0] * 40, groups=["a"] * 40) == interval([0.0], groups=["a"])
    found = interval([1.0, 0.0, 0.0], groups=["a", "a", "b"])
    assert (found.mean, found.count) == (0.25, 2)


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.3])
def test_so_many_conversations_without_an_event_show_a_margin_and_one_fewer_does_not(
    margin: float,
) -> None:
    count = needed(margin)
    assert interval([0.0] * count, groups=NAMES[:count]).low >= -margin
    assert interval([0.0] * (count - 1), groups=NAMES[: count - 1]).low < -margin


def test_values_out_of_bounds_and_none_are_refused() -> None:
    for values, groups in (([2.0], ["a"]), ([], []), ([0.0], [])):
        with pytest.raises(ValueError, match="values"):
            interval(values, groups=groups)
    with pytest.raises(ValueError, match="margin"):
        needed(0)
    assert needed(0.1) == 50
