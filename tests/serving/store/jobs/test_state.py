"""What may become of a fine-tuning job, and whose turn it is."""

import pytest

from serving.store.jobs import state
from serving.store.jobs.state import JobState, Step, Waiting

S = JobState


def test_a_job_that_is_over_takes_no_step() -> None:
    for step in Step:
        assert not state.OVER & set(state.before(step))


def test_every_other_state_can_be_left_and_every_state_is_reached() -> None:
    for one in set(S) - state.OVER:
        assert [step for step in Step if one in state.before(step) and state.after(step) != one]
    assert {state.after(step) for step in Step} | {S.VALIDATING} == set(S)


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        (Step.ACCEPT, {S.VALIDATING}, S.QUEUED),
        (Step.TAKE, {S.QUEUED, S.RUNNING}, S.RUNNING),
        (Step.SUCCEED, {S.RUNNING}, S.SUCCEEDED),
        (Step.PAUSE, {S.QUEUED, S.RUNNING}, S.PAUSED),
        (Step.RESUME, {S.PAUSED}, S.QUEUED),
        (Step.CANCEL, {S.VALIDATING, S.QUEUED, S.RUNNING, S.PAUSED}, S.CANCELLED),
        (Step.FAIL, {S.VALIDATING, S.QUEUED, S.RUNNING}, S.FAILED),
    ],
)
def test_a_step_leads_from_some_states_to_one(
    step: Step, before: set[JobState], after: JobState
) -> None:
    assert set(state.before(step)) == before
    assert state.after(step) is after


def test_a_refusal_names_the_state_and_what_it_would_take() -> None:
    said = state.refusal(Step.PAUSE, S.SUCCEEDED)
    assert said == "The job is succeeded: to pause it, it must be queued or running."


def test_the_oldest_of_the_first_priority_that_nobody_works_on_is_next() -> None:
    jobs = [
        Waiting(0, "c", S.QUEUED),
        Waiting(0, "b", S.RUNNING),
        Waiting(0, "a", S.RUNNING),
        Waiting(-1, "z", S.QUEUED),
        Waiting(0, "d", S.PAUSED),
        Waiting(-5, "e", S.VALIDATING),
    ]
    assert [job.id for job in state.in_turn(jobs, {"a"})] == ["z", "b", "c"]


def test_a_job_over_which_runners_die_is_given_up() -> None:
    assert not state.is_given_up(state.ATTEMPTS)
    assert state.is_given_up(state.ATTEMPTS + 1)
