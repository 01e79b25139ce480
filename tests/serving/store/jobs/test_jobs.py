"""Fine-tuning jobs in both databases."""

import asyncio
from typing import Any

import pytest

from serving.errors import Conflict, NotFound, RateLimited
from serving.store import audit, leases
from serving.store.database import Database
from serving.store.files import files
from serving.store.files.records import new_id
from serving.store.jobs import jobs, progress
from serving.store.jobs.records import JobRecord
from serving.store.jobs.state import JobState, Step, Waiting
from tests.serving.store.files.test_files import file

S = JobState


async def made(db: Database, limit: int | None = None, **fields: Any) -> JobRecord:
    read = file()
    await files.reserve(db, read, None)
    await files.finish(db, read.id)
    values = {
        "id": new_id("ftjob-"),
        "key_id": "key_1",
        "lob": "care",
        "model": "care",
        "training_file": read.id,
        "seed": 7,
        "method": {"type": "supervised", "hyperparameters": {"n_epochs": "auto"}},
    }
    return await jobs.create(db, JobRecord.model_validate(values | fields), limit)


async def running(db: Database, term: int = 1) -> JobRecord:
    job = await made(db)
    await jobs.move(db, job.id, Step.ACCEPT)
    taken = await jobs.take(db, job.id, term)
    assert taken is not None
    return taken


async def test_a_job_is_made_with_its_event_and_its_line_in_the_audit(db: Database) -> None:
    job = await made(db, labels={"for": "tests"})
    assert (job.status, job.labels, job.is_over) == (S.VALIDATING, {"for": "tests"}, False)
    assert job.created_at > 1_700_000_000
    told, _ = await progress.events(db, job.id)
    assert [one.message for one in told] == [f"Created fine-tuning job: {job.id}"]
    (entry,) = await audit.of(db, job.id)
    assert (entry.action, entry.key_id, entry.detail["lob"]) == ("create_job", "key_1", "care")


async def test_a_file_that_is_gone_makes_no_job(db: Database) -> None:
    with pytest.raises(Conflict):
        await made(db, validation_file="file-gone")
    assert await jobs.waiting(db) == []


async def test_a_file_is_kept_until_its_job_is_over(db: Database) -> None:
    job = await made(db)
    with pytest.raises(Conflict, match="fine-tuning job"):
        await files.hide(db, job.training_file)
    await jobs.ask(db, job.id, Step.CANCEL, None)
    await files.hide(db, job.training_file)


async def test_a_key_has_so_many_unfinished_jobs_also_when_it_asks_at_once(db: Database) -> None:
    asked = await asyncio.gather(*(made(db, 2) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, RateLimited) for one in asked) == 2
    await made(db, 2, key_id="key_2")
    first = next(one for one in asked if isinstance(one, JobRecord))
    await jobs.ask(db, first.id, Step.CANCEL, None)
    await made(db, 2)


async def test_jobs_are_found_by_line_page_and_label(db: Database) -> None:
    made_ = [await made(db, labels={"n": str(i), 'odd "key"': "x"}) for i in range(3)]
    other = await made(db, lob="sales")
    ids = [job.id for job in made_]
    found, more = await jobs.page(db, ["care"], limit=2)
    assert ([job.id for job in found], more) == ([ids[2], ids[1]], True)
    found, more = await jobs.page(db, ["care"], after_id=ids[1])
    assert ([job.id for job in found], more) == ([ids[0]], False)
    found, _ = await jobs.page(db, ["*"], labels={"n": "1"})
    assert [job.id for job in found] == [ids[1]]
    found, _ = await jobs.page(db, None, unlabelled=True)
    assert [job.id for job in found] == [other.id]
    with pytest.raises(NotFound):
        await jobs.get(db, other.id, ["care"])
    assert (await jobs.get(db, other.id, ["*"])).lob == "sales"


async def test_one_of_many_runners_takes_a_job(db: Database) -> None:
    job = await made(db)
    assert await jobs.take(db, job.id, 1) is None  # its files are not validated
    await jobs.move(db, job.id, Step.ACCEPT)
    assert await jobs.waiting(db) == [Waiting(0, job.id, S.QUEUED)]
    taken = await asyncio.gather(*(jobs.take(db, job.id, 1) for _ in range(4)))
    assert [one.status for one in taken if one] == [S.RUNNING]
    again = await jobs.take(db, job.id, 2)  # the runner's lease ran out
    assert again is not None
    assert (again.term, again.attempts) == (2, 2)
    assert not await jobs.goes_on(db, job.id, 1)
    assert await jobs.goes_on(db, job.id, 2)


async def test_who_lost_the_job_cannot_end_it(db: Database) -> None:
    job = await running(db, term=1)
    await jobs.take(db, job.id, 2)
    assert await jobs.move(db, job.id, Step.SUCCEED, term=1) is None
    done = await jobs.move(db, job.id, Step.SUCCEED, term=2, fine_tuned_model="care@8")
    assert done is not None
    assert (done.status, done.fine_tuned_model, done.is_over) == (S.SUCCEEDED, "care@8", True)
    assert done.finished_at is not None


async def test_a_job_is_cancelled_once_and_its_lease_goes_when_its_runner_lets_go(
    db: Database,
) -> None:
    job = await running(db)
    assert await leases.acquire(db, jobs.lease(job.id), "runner", 60) == 1
    cancelled = await jobs.ask(db, job.id, Step.CANCEL, "key_9")
    assert cancelled.status is S.CANCELLED
    assert not await jobs.goes_on(db, job.id, 1)
    await jobs.tidy(db, job.id)
    assert set(await leases.holders(db)) == {jobs.lease(job.id)}
    await leases.release(db, jobs.lease(job.id), 1)
    await jobs.tidy(db, job.id)
    assert await leases.acquire(db, jobs.lease(job.id), "other", 60) == 1  # there is none left
    with pytest.raises(Conflict, match="The job is cancelled"):
        await jobs.ask(db, job.id, Step.CANCEL, "key_9")
    assert [(e.action, e.key_id) for e in (await audit.of(db, job.id))[1:]] == [
        ("cancel_job", "key_9")
    ]


async def test_a_paused_job_waits_for_its_resumption(db: Database) -> None:
    job = await running(db)
    assert (await jobs.ask(db, job.id, Step.PAUSE, None)).status is S.PAUSED
    assert await jobs.take(db, job.id, 2) is None
    assert (await jobs.ask(db, job.id, Step.RESUME, None)).status is S.QUEUED
    assert await jobs.take(db, job.id, 2) is not None
    with pytest.raises(Conflict, match="it must be paused"):
        await jobs.ask(db, job.id, Step.RESUME, None)
