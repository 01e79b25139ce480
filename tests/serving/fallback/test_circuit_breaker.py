"""The circuit breaker, against a model of it and at its corners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.fallback.circuit_breaker import Breaker, Permit, State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock, failures: int = 2) -> Breaker:
    breaker = Breaker(failures, 10.0, clock)
    for _ in range(failures):
        asked(breaker).failure()
    assert breaker.state is State.OPEN
    return breaker


def asked(breaker: Breaker) -> Permit:
    permit = breaker.ask()
    assert permit is not None
    return permit


def test_consecutive_failures_open_it_and_a_success_starts_the_count_anew(clock: Clock) -> None:
    breaker = Breaker(2, 10.0, clock)
    for _ in range(3):
        asked(breaker).failure()
        asked(breaker).success()
    assert breaker.state is State.CLOSED
    asked(breaker).failure()
    asked(breaker).failure()
    assert breaker.state is State.OPEN
    assert breaker.ask() is None


def test_half_open_lets_exactly_one_try(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now = 9.9
    assert breaker.ask() is None
    clock.now = 10.0
    assert breaker.state is State.HALF_OPEN
    asked(breaker)
    assert [breaker.ask() for _ in range(5)] == [None] * 5


def test_the_probe_s_success_closes_it(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now = 10.0
    asked(breaker).success()
    assert breaker.state is State.CLOSED
    asked(breaker).failure()
    assert breaker.state is State.CLOSED, "the count must have started anew"


def test_the_probe_s_failure_opens_it_for_the_whole_time_again(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now = 10.0
    probe = asked(breaker)
    clock.now = 15.0
    probe.failure()
    clock.now = 24.9
    assert breaker.ask() is None
    clock.now = 25.0
    asked(breaker)


def test_a_cancelled_probe_lets_another_one_try(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now = 10.0
    asked(breaker).cancel()
    asked(breaker)
    assert breaker.ask() is None


def test_what_was_asked_before_it_opened_tells_nothing_afterwards(clock: Clock) -> None:
    breaker = Breaker(2, 10.0, clock)
    late = [asked(breaker) for _ in range(4)]
    late[0].failure()
    late[1].failure()
    late[2].success()
    assert breaker.state is State.OPEN
    clock.now = 10.0
    probe = asked(breaker)
    late[3].failure()
    assert breaker.ask() is None, "the probe is still under way"
    probe.success()
    assert breaker.state is State.CLOSED


def test_a_permit_counts_once(clock: Clock) -> None:
    breaker = Breaker(2, 10.0, clock)
    permit = asked(breaker)
    permit.failure()
    permit.failure()
    permit.cancel()
    assert breaker.state is State.CLOSED


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "success", "failure", "cancel", "wait"]), st.integers(0, 7)),
    max_size=200,
)


@given(STEPS, st.integers(1, 4))
def test_whatever_happens_it_is_never_stuck_and_never_lets_two_probe(
    steps: list[tuple[str, int]], failures: int
) -> None:
    clock = Clock()
    breaker = Breaker(failures, 5.0, clock)
    out: list[tuple[Permit, bool]] = []
    for name, number in steps:
        if name == "wait":
            clock.now += number
        elif name == "ask":
            before = breaker.state
            permit = breaker.ask()
            if before is State.OPEN:
                assert permit is None
            if before is State.CLOSED:
                assert permit is not None
            if permit is not None:
                out.append((permit, before is State.HALF_OPEN))
        elif out:
            getattr(out.pop(number % len(out))[0], name)()
        assert sum(probe for _, probe in out) <= 1
    for permit, _ in out:
        permit.cancel()
    clock.now += 5.0
    assert breaker.ask() is not None
