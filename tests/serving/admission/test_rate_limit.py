"""The token bucket, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission.rate_limit import BURST_S, Bucket


def test_burst_is_ten_seconds_worth_and_then_one_a_tick() -> None:
    bucket = Bucket(per_minute=60)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(1.0)
    assert bucket.take(0.5) == pytest.approx(0.5)
    assert bucket.take(1.0) == 0.0
    assert bucket.take(1.0) > 0


def test_slow_rate_still_lets_one_through() -> None:
    bucket = Bucket(per_minute=1)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(100.0) == pytest.approx(60.0)


@given(
    st.floats(1, 6000),
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_no_window_lets_more_through_than_rate_and_burst(rate: float, gaps: list[float]) -> None:
    bucket, now, taken = Bucket(rate), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now) == 0.0:
            taken.append(now)
    burst = max(1.0, rate / 60 * BURST_S)
    for i, start in enumerate(taken):
        for j, end in enumerate(taken[i:]):
            assert j + 1 <= burst + (end - start) * rate / 60 + 1e-6


@given(st.floats(1, 6000), st.integers(1, 50))
def test_told_wait_is_true(rate: float, times: int) -> None:
    bucket, now = Bucket(rate), 0.0
    for _ in range(times):
        wait = bucket.take(now)
        if wait:
            assert bucket.take(now + wait * 0.5) > 0
            now += wait * (1 + 1e-9) + 1e-9
            assert bucket.take(now) == 0.0
