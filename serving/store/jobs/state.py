"""What a fine-tuning job may become, and which job a runner takes next. Pure.

::

    validating_files ─accept→ queued ─take→ running ─succeed→ succeeded
                                 ↑  ↘pause  │ ↑take (its runner died)
                                 └─resume─ paused
    all but the ends ─cancel→ cancelled;  validating_files, queued, running ─fail→ failed
"""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import NamedTuple

ATTEMPTS = 5
"""Runners that may die over a job without a step between them; then it has failed."""


class JobState(StrEnum):
    """Where a job stands, in OpenAI's words."""

    VALIDATING = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """What happens to a job: the first four by a runner, the others by whoever asks."""

    ACCEPT = "accept"
    TAKE = "take"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


S = JobState
OVER = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED})
"""States that end a job."""
_STEPS: dict[Step, tuple[tuple[JobState, ...], JobState]] = {
    Step.ACCEPT: ((S.VALIDATING,), S.QUEUED),
    Step.TAKE: ((S.QUEUED, S.RUNNING), S.RUNNING),
    Step.SUCCEED: ((S.RUNNING,), S.SUCCEEDED),
    Step.FAIL: ((S.VALIDATING, S.QUEUED, S.RUNNING), S.FAILED),
    Step.CANCEL: ((S.VALIDATING, S.QUEUED, S.RUNNING, S.PAUSED), S.CANCELLED),
    Step.PAUSE: ((S.QUEUED, S.RUNNING), S.PAUSED),
    Step.RESUME: ((S.PAUSED,), S.QUEUED),
}


class Waiting(NamedTuple):
    """A job that somebody must work on; ids sort by their time."""

    priority: int
    id: str
    state: JobState


def before(step: Step) -> tuple[JobState, ...]:
    """Return the states in which a step may happen."""
    return _STEPS[step][0]


def after(step: Step) -> JobState:
    """Return the state that a step leads to."""
    return _STEPS[step][1]


def refusal(step: Step, state: JobState) -> str:
    """Say why a step cannot happen now."""
    possible = " or ".join(before(step))
    return f"The job is {state}: to {step} it, it must be {possible}."


def in_turn(jobs: Iterable[Waiting], held: Collection[str]) -> list[Waiting]:
    """Return the jobs that may be trained and nobody works on, the one whose turn it is first.

    Args:
        jobs: All that are not over.
        held: Ids of those that a runner works on.
    """
    ready = [job for job in jobs if job.state in before(Step.TAKE) and job.id not in held]
    return sorted(ready)  # lower priorities first, the oldest within one


def is_given_up(attempts: int) -> bool:
    """Whether so many runners died over a job that the job must be why.

    Args:
        attempts: How often it was taken since its last step, this time included.
    """
    return attempts > ATTEMPTS
