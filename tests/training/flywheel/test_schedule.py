from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.flywheel.schedule import DAY_S, HOUR_S, Situation, backoff_s, decide, due, gives_up
from training.recipe.flywheel import FlywheelConfig

NOON = 20_000 * DAY_S + 12 * HOUR_S
RULES = FlywheelConfig(every_hours=24, min_new_feedback=50)
IDLE = Situation(now=NOON, known_since=NOON - 1000, new_feedback=50, began=NOON - DAY_S)

times = st.floats(1e9, 3e9)
rules = st.one_of(
    st.builds(FlywheelConfig, every_hours=st.floats(0.01, 1000)),
    st.builds(
        FlywheelConfig,
        every_hours=st.sampled_from([24, 48, 168]),
        at_hour=st.floats(0, 24, exclude_max=True),
    ),
)
situations = st.builds(
    Situation,
    now=times,
    known_since=times,
    new_feedback=st.integers(0, 200),
    paused=st.booleans(),
    forced=st.booleans(),
    began=st.none() | times,
    is_open=st.booleans(),
    on_canary=st.booleans(),
    retry_at=st.none() | times,
)


def test_a_cycle_begins_when_time_and_feedback_have_come() -> None:
    assert decide(RULES, IDLE).action == "begin"
    assert decide(RULES, IDLE).why == "due, with 50 new feedback"
    early = decide(RULES, replace(IDLE, now=NOON - 1))
    assert (early.action, early.at) == ("wait", NOON)
    assert early.why == "next at 2024-10-04 12:00:00 UTC"
    few = decide(RULES, replace(IDLE, new_feedback=49))
    assert (few.action, few.why) == ("wait", "due, but with 49 new feedback of 50")


def test_what_people_say_comes_first() -> None:
    early = replace(IDLE, now=NOON - 1, new_feedback=0)
    assert decide(RULES, replace(early, forced=True)).action == "begin"
    assert decide(RULES, replace(IDLE, paused=True)).why == "paused"
    assert decide(RULES, replace(early, forced=True, paused=True)).action == "wait"
    working = replace(IDLE, is_open=True)
    assert decide(RULES, working).action == "go_on"
    assert decide(RULES, replace(working, paused=True)).action == "wait"


def test_a_running_canary_is_watched_even_while_paused() -> None:
    canary = replace(IDLE, is_open=True, on_canary=True, paused=True)
    assert decide(RULES, canary).action == "go_on"


def test_a_failed_step_waits_for_its_time_or_for_force() -> None:
    failed = replace(IDLE, is_open=True, retry_at=NOON + 60)
    assert decide(RULES, failed).at == NOON + 60
    assert decide(RULES, replace(failed, now=NOON + 60)).action == "go_on"
    assert decide(RULES, replace(failed, forced=True)).action == "go_on"


def test_at_an_hour_of_the_day_a_late_or_forced_cycle_moves_nothing() -> None:
    daily = FlywheelConfig(every_hours=24, at_hour=3)
    three = 20_000 * DAY_S + 3 * HOUR_S
    assert due(daily, three - 10, None) == three
    assert due(daily, three + 10, None) == three + DAY_S
    for began in (three, three + 20, three + 11 * HOUR_S, three + DAY_S - 1):
        assert due(daily, 0, began) == three + DAY_S
    assert due(FlywheelConfig(every_hours=48, at_hour=3), 0, three + 20) == three + 2 * DAY_S


@given(rules, situations)
def test_only_one_thing_is_done_and_a_wait_ends(chosen: FlywheelConfig, at: Situation) -> None:
    decision = decide(chosen, at)
    assert decision == decide(chosen, at)
    assert decision.why
    assert (decision.action == "begin") <= (not at.is_open and not at.paused)
    assert (decision.action == "go_on") <= at.is_open
    if decision.at is not None:
        assert decision.at > at.now
        later = decide(chosen, replace(at, now=decision.at))
        assert later.at is None or later.action != "wait"


@given(rules, times, times)
def test_the_next_cycle_is_later_than_the_last_and_within_its_interval(
    chosen: FlywheelConfig, known: float, began: float
) -> None:
    next_at = due(chosen, known, began)
    assert began < next_at <= began + chosen.every_hours * HOUR_S + 1e-3
    assert known - 1e-3 <= due(chosen, known, None) < known + DAY_S + 1e-3


@given(st.floats(0.1, 1e4), st.floats(1, 1e4), st.integers(1, 5000))
def test_waits_grow_to_the_cap_and_never_fall(first: float, more: float, attempts: int) -> None:
    chosen = FlywheelConfig(backoff_s=first, backoff_cap_s=first * more)
    assert backoff_s(chosen, 1) == first
    assert backoff_s(chosen, attempts) <= backoff_s(chosen, attempts + 1) <= first * more
    assert backoff_s(chosen, 10_000) == first * more


def test_retries_end_but_never_those_of_a_running_canary() -> None:
    chosen = FlywheelConfig(retries=2)
    assert [gives_up(chosen, n, on_canary=False) for n in (1, 2, 3)] == [False, False, True]
    assert not gives_up(chosen, 1000, on_canary=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"at_hour": 3, "every_hours": 30}, "whole days"),
        ({"backoff_s": 60, "backoff_cap_s": 30}, "is below"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(
    content: dict[str, float], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        FlywheelConfig.model_validate(content)
