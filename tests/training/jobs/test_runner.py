"""Jobs over a real store and registry; the trainer is a stand-in but in the last test."""

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import update

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.files.storage import FileStorage
from serving.store import datasets, leases
from serving.store.database import Database
from serving.store.files import files
from serving.store.jobs import jobs, progress
from serving.store.jobs.records import JobRecord
from serving.store.jobs.state import JobState
from serving.store.jobs.state import Step as Act
from serving.store.records import State
from serving.store.tables import LeaseRow
from tests.training.jobs.conftest import MakeJob, chats, labels, pairs
from tests.training.stand_in import StandIn
from tests.waiting import PATIENCE_S, until_async
from training.errors import FineTuneFailed, WorkerLost
from training.execution.local import Worker
from training.jobs.runner import JobRunner
from training.recipe.recipe import Recipe
from training.trainers import tracking
from training.trainers.job import Job, Result

S = JobState
T = TypeVar("T")
MakeRunner = Callable[..., JobRunner]


class Held(StandIn):
    """A trainer that logs a step, and then waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def train(self, job: Job) -> Result:
        line = {"step": len(self.jobs) + 1, "of": 8, "loss": 2.0}
        with (Path(job.out) / tracking.STEPS).open("a") as log:
            log.write(json.dumps(line) + "\n")
        self.begun.set()
        try:
            await self.go.wait()
        finally:
            self.begun.clear()
        return await super().train(job)


@pytest.fixture
def make_runner(
    store: Database, job_settings: Settings, line_recipe: Recipe, tmp_path: Path
) -> MakeRunner:
    def make(trainer: Any, owner: str = "runner", **more: Any) -> JobRunner:
        return JobRunner(
            store,
            job_settings,
            lambda _: line_recipe,
            owner,
            tmp_path / "runs",
            look_s=0.02,
            trainer=trainer,
            **more,
        )

    return make


async def told(db: Database, id_: str) -> list[str]:
    found, _ = await progress.events(db, id_, limit=100)
    return [one.message for one in reversed(found)]


async def when(db: Database, id_: str, *states: JobState) -> JobRecord:
    await seen(lambda: jobs.get(db, id_), lambda job: job.status in states)
    return await jobs.get(db, id_)


async def seen(look: Callable[[], Awaitable[T]], is_right: Callable[[T], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_right(await look()):
                return
            await asyncio.sleep(0.02)


async def test_a_job_becomes_a_candidate_with_its_results(
    store: Database, job_settings: Settings, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    job = await make_job(chats(12), suffix="spring", numbers={"n_epochs": 3})
    trainer = StandIn()
    assert await make_runner(trainer).drain() == 1
    done = await jobs.get(store, job.id)
    assert (done.status, done.fine_tuned_model) == (S.SUCCEEDED, "care@1")
    assert done.method["hyperparameters"] == {
        "n_epochs": 3,
        "batch_size": 4,
        "learning_rate_multiplier": 1.0,
    }
    assert done.trained_tokens == 1000  # 8 steps of 4 are two epochs of 16
    version = await Registry(store, job_settings.adapters.uri).get("care@1")
    assert version is not None
    assert (version.state, version.decision) == (State.CANDIDATE, {})
    assert version.recipe["sft"]["seed"] == 7
    assert version.metrics["fine_tuning_job"] == job.id
    assert version.metrics["suffix"] == "spring"
    assert trainer.jobs[0].dataset_id == version.dataset_id
    learned = await datasets.get(store, str(version.dataset_id))
    assert learned is not None
    assert learned.manifest["sources"]["training_file"]["id"] == job.training_file
    (file_id,) = done.result_files
    record = await files.get(store, file_id, ["care"])
    assert (record.purpose, record.key_id) == ("fine-tune-results", "key_1")
    with await FileStorage(job_settings.files.uri).open(file_id) as opened:
        rows = list(csv.DictReader(io.StringIO(opened.read().decode())))
    assert [(row["step"], row["train_loss"]) for row in rows] == [("1", "2.0"), ("2", "1.0")]
    assert await told(store, job.id) == [
        f"Created fine-tuning job: {job.id}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        "Step 1/8: training loss=2.00",
        "Step 2/8: training loss=1.00",
        "New fine-tuned model created: care@1",
        "The job has successfully completed",
    ]
    assert await leases.holders(store) == {}


async def test_jobs_are_trained_by_priority_and_age(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    made = [await make_job(chats(10), priority=p) for p in (0, 0, -1)]
    assert await make_runner(StandIn()).drain() == 3
    models = [(await jobs.get(store, job.id)).fine_tuned_model for job in made]
    assert models == ["care@2", "care@3", "care@1"]


async def test_a_bad_file_fails_the_job_with_its_lines(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    job = await make_job([*chats(10), {"messages": []}, {"messages": []}])
    assert await make_runner(StandIn()).drain() == 0
    failed = await jobs.get(store, job.id)
    assert failed.status is S.FAILED
    assert (failed.error["code"], failed.error["param"]) == (
        "invalid_training_file",
        "training_file",
    )
    assert "line 11: messages" in failed.error["message"]
    assert "line 12: messages" in failed.error["message"]
    last, _ = await progress.events(store, job.id, limit=1)
    assert last[0].level == "error"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            FineTuneFailed("the loss became infinite"),
            "fine_tune_failed",
            "the loss became infinite",
        ),
        (RuntimeError("/srv/secret"), "internal_error", "a fault that it has no name for"),
    ],
)
async def test_a_training_that_fails_ends_the_job_and_leaves_nothing(
    store: Database,
    make_job: MakeJob,
    make_runner: MakeRunner,
    tmp_path: Path,
    error: Exception,
    code: str,
    said: str,
) -> None:
    job = await make_job(chats(10))
    await make_runner(StandIn(error)).drain()
    failed = await jobs.get(store, job.id)
    assert (failed.status, failed.error["code"]) == (S.FAILED, code)
    assert said in failed.error["message"]
    assert "secret" not in json.dumps([failed.error, await told(store, job.id)])
    assert list((tmp_path / "runs" / "work").glob("care-*/")) == []


async def test_a_lost_process_is_tried_again_until_it_is_the_jobs_fault(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    job = await make_job(chats(10))
    runner = make_runner(StandIn(WorkerLost("care: the training process was killed by signal 9")))
    await runner.validate()
    for _ in range(5):
        assert not await runner.train()
        assert (await jobs.get(store, job.id)).status is S.RUNNING
    assert await runner.train()
    failed = await jobs.get(store, job.id)
    assert failed.status is S.FAILED
    assert "5 runners died over it" in failed.error["message"]


async def test_a_cancelled_job_stops_and_leaves_nothing(
    store: Database, make_job: MakeJob, make_runner: MakeRunner, tmp_path: Path
) -> None:
    job, trainer = await make_job(chats(10)), Held()
    working = asyncio.create_task(make_runner(trainer).drain())
    await trainer.begun.wait()
    await jobs.ask(store, job.id, Act.CANCEL, None)
    async with asyncio.timeout(PATIENCE_S):
        await working
    assert (await jobs.get(store, job.id)).status is S.CANCELLED
    assert list((tmp_path / "runs" / "work").glob("care-*/")) == []
    assert await leases.holders(store) == {}
    assert trainer.jobs == []


async def test_a_paused_job_goes_on_where_it_was(
    store: Database, make_job: MakeJob, make_runner: MakeRunner, tmp_path: Path
) -> None:
    job, trainer = await make_job(chats(10)), Held()
    working = asyncio.create_task(make_runner(trainer).run())
    await trainer.begun.wait()
    await jobs.ask(store, job.id, Act.PAUSE, None)
    await until_async(lambda: not trainer.begun.is_set(), "the trainer is stopped")
    (work,) = (tmp_path / "runs" / "work").glob("care-*/")
    trainer.go.set()
    await jobs.ask(store, job.id, Act.RESUME, None)
    done = await when(store, job.id, S.SUCCEEDED, S.FAILED)
    assert done.status is S.SUCCEEDED
    assert Path(trainer.jobs[0].out) == work
    working.cancel()
    await asyncio.wait({working})


async def test_steps_are_told_while_it_trains_and_files_are_validated_meanwhile(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    job, trainer = await make_job(chats(10)), Held()
    working = asyncio.create_task(make_runner(trainer).run())
    await trainer.begun.wait()
    await seen(lambda: told(store, job.id), lambda said: "Step 1/8: training loss=2.00" in said)
    other = await make_job(chats(10))
    await when(store, other.id, S.QUEUED)
    assert (await jobs.get(store, job.id)).status is S.RUNNING
    working.cancel()
    await asyncio.wait({working})
    assert await leases.holders(store) == {}  # another runner may go on at once


async def test_another_runner_takes_over_and_the_first_changes_nothing(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    job, first, second = await make_job(chats(10)), Held(), StandIn()
    hung = asyncio.create_task(make_runner(first, "first", lease_s=600).drain())
    await first.begun.wait()
    assert await make_runner(second, "second").drain() == 0  # the first one holds it
    async with store.session() as connection:  # it has been silent for too long
        await connection.execute(update(LeaseRow).values(expires_at=0.0))
    working = asyncio.create_task(make_runner(second, "second").run())
    await seen(lambda: jobs.get(store, job.id), lambda one: one.term == 2)
    async with asyncio.timeout(PATIENCE_S):
        await hung  # it sees that the job is another's, and lets go of the folder
    done = await when(store, job.id, S.SUCCEEDED, S.FAILED)
    assert (done.status, done.fine_tuned_model) == (S.SUCCEEDED, "care@1")
    assert first.jobs == []
    working.cancel()
    await asyncio.wait({working})


async def test_a_job_that_is_cancelled_as_it_ends_leaves_no_candidate(
    store: Database,
    job_settings: Settings,
    make_job: MakeJob,
    make_runner: MakeRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = await make_job(chats(10))
    keep = Registry.set_metrics

    async def late(self: Registry, *args: Any) -> None:
        await keep(self, *args)
        await jobs.ask(store, job.id, Act.CANCEL, None)

    monkeypatch.setattr(Registry, "set_metrics", late)
    await make_runner(StandIn()).drain()
    ended = await jobs.get(store, job.id)
    assert (ended.status, ended.result_files) == (S.CANCELLED, [])
    version = await Registry(store, job_settings.adapters.uri).get("care@1")
    assert version is not None
    assert version.state is State.REJECTED
    found, _ = await files.page(
        store, ["*"], purpose="fine-tune-results", after=None, limit=9, newest_first=True
    )
    assert found == []


async def test_a_line_that_is_no_longer_configured_fails_its_jobs(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    job = await make_job(chats(10), lob="returns")
    await make_runner(StandIn()).drain()
    assert (await jobs.get(store, job.id)).error["code"] == "not_found"


@pytest.mark.slow
async def test_each_method_is_trained_for_real(
    store: Database, make_job: MakeJob, make_runner: MakeRunner
) -> None:
    made = [
        await make_job(chats(16), chats(4, begin=90)),
        await make_job(pairs(16), pairs(20)[16:], kind="dpo"),
        await make_job(labels(16), labels(20)[16:], kind="kto", numbers={"beta": 0.2}),
    ]
    async with Worker() as worker:
        assert await make_runner(worker).drain() == 3
    for number, job in enumerate(made, 1):
        done = await jobs.get(store, job.id)
        assert (done.status, done.fine_tuned_model) == (S.SUCCEEDED, f"care@{number}"), done.error
        points, _ = await progress.checkpoints(store, job.id)
        assert [one.step for one in points] == [8, 6, 4, 2]
        assert points[0].metrics["final"]
        assert points[0].metrics["train_loss"] > 0
        assert points[0].metrics["full_valid_loss"] == points[0].metrics["valid_loss"]
        steps = [one for one in await told(store, job.id) if "training loss" in one]
        assert [one.partition(":")[0] for one in steps] == [f"Step {n}/8" for n in range(1, 9)]
        looks = [one for one in await told(store, job.id) if "validation loss" in one]
        assert [one.partition(":")[0] for one in looks] == ["Step 4/8", "Step 8/8"]
