import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.stats.thompson import Beta, Normal, shares


def test_arms_that_nobody_tried_share_alike() -> None:
    found = shares({"a": Beta(0, 0), "b": Beta(0, 0), "c": Normal.of([])}, floor=0.1)
    assert all(share == pytest.approx(1 / 3, abs=0.07) for share in found.values())


def test_the_share_is_the_probability_to_be_best() -> None:
    # P(Beta(2, 1) > Beta(1, 1)) = 2/3, by hand.
    found = shares({"a": Beta(1, 1), "b": Beta(0, 0)}, floor=0.0, draws=200_000)
    assert found["a"] == pytest.approx(2 / 3, abs=0.005)


def test_a_hopeless_arm_keeps_the_floor() -> None:
    found = shares({"good": Beta(900, 1000), "bad": Beta(100, 1000)}, floor=0.05)
    assert found == pytest.approx({"good": 0.95, "bad": 0.05})


def test_a_normal_posterior_narrows_on_the_mean() -> None:
    few, many = Normal.of([0.8, 0.9]), Normal.of([0.8, 0.9] * 200)
    assert few.deviation > many.deviation
    assert many.mean == pytest.approx(0.85, abs=0.01)
    assert Normal.of([]) == Normal(0.5, 0.5)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=5),
    st.floats(0, 0.2),
)
def test_shares_add_up_and_respect_the_floor(arms: list[tuple[int, int]], floor: float) -> None:
    known = {str(i): Beta(won, won + lost) for i, (won, lost) in enumerate(arms)}
    found = shares(known, floor=floor, draws=500)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= floor - 1e-12
    assert found == shares(known, floor=floor, draws=500)


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(30, 60))
def test_more_successes_never_cost_share(successes: int, trials: int) -> None:
    other = Beta(15, 30)
    less = shares({"a": Beta(successes, trials), "b": other}, floor=0.05)["a"]
    more = shares({"a": Beta(successes + 10, trials + 10), "b": other}, floor=0.05)["a"]
    assert more >= less - 0.03  # draws differ


@pytest.mark.parametrize(("arms", "floor"), [(0, 0.1), (3, 0.4), (2, -0.1)])
def test_a_floor_that_does_not_fit_is_refused(arms: int, floor: float) -> None:
    with pytest.raises(ValueError, match="does not suit"):
        shares({str(i): Beta(0, 0) for i in range(arms)}, floor=floor)
