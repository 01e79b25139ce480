"""Events and checkpoints of fine-tuning jobs, in both databases."""

import pytest

from serving.errors import Conflict
from serving.store.database import Database
from serving.store.jobs import jobs, progress
from serving.store.jobs.records import JobCheckpoint, JobEvent
from serving.store.jobs.state import Step
from tests.serving.store.jobs.test_jobs import running


def step(number: int) -> JobEvent:
    return JobEvent(
        message=f"Step {number}", kind="metrics", name=f"step {number}", data={"step": number}
    )


async def test_a_step_is_told_once_and_shows_that_the_job_gets_on(db: Database) -> None:
    job = await running(db)
    await progress.tell(db, job.id, 1, [step(1), step(2)], estimated_finish=9.0)
    now = await jobs.get(db, job.id)
    assert (now.attempts, now.estimated_finish) == (0, 9.0)
    await jobs.take(db, job.id, 2)
    await progress.tell(db, job.id, 2, [step(2)])
    assert (await jobs.get(db, job.id)).attempts == 1
    told, _ = await progress.events(db, job.id)
    assert [one.data["step"] for one in told if one.kind == "metrics"] == [2, 1]


async def test_who_lost_the_job_tells_nothing(db: Database) -> None:
    job = await running(db)
    await jobs.take(db, job.id, 2)
    with pytest.raises(Conflict):
        await progress.tell(db, job.id, 1, [step(1)])
    await jobs.ask(db, job.id, Step.PAUSE, None)
    with pytest.raises(Conflict):
        await progress.tell(db, job.id, 2, [step(1)])
    told, _ = await progress.events(db, job.id)
    assert not [one for one in told if one.kind == "metrics"]


async def test_events_are_read_backwards_by_page_and_forwards_as_they_come(db: Database) -> None:
    job = await running(db)
    await progress.tell(db, job.id, 1, [step(n) for n in range(1, 6)])
    newest, more = await progress.events(db, job.id, limit=2)
    assert ([one.message for one in newest], more) == (["Step 5", "Step 4"], True)
    older, _ = await progress.events(db, job.id, before=newest[-1].number, limit=2)
    assert [one.message for one in older] == ["Step 3", "Step 2"]
    later, more = await progress.events(db, job.id, since=older[0].number)
    assert ([one.message for one in later], more) == (["Step 4", "Step 5"], False)


async def test_checkpoints_are_kept_once_and_read_from_the_last(db: Database) -> None:
    job = await running(db)
    for _ in range(2):
        every = [JobCheckpoint(step=n, metrics={"train_loss": 1.0 / n}) for n in (2, 4, 6)]
        await progress.tell(db, job.id, 1, checkpoints=every)
    found, more = await progress.checkpoints(db, job.id, limit=2)
    assert ([one.step for one in found], more) == ([6, 4], True)
    found, more = await progress.checkpoints(db, job.id, below=4)
    assert ([one.metrics["train_loss"] for one in found], more) == ([0.5], False)
