"""Cycles over a real store and registry; the server is a stand-in, and mostly the trainer too."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.store import cycles, feedback, interactions, leases, routes
from serving.store.database import Database
from serving.store.records import Cycle, CycleState
from serving.store.reports import impact, looks
from serving.store.tables import CycleRow, LeaseRow
from tests.training.records import GATE_OF_FIVE, drawn, labelled
from tests.training.stand_in import StandIn, wanted
from tests.training.stub_server import Stub, serving
from tests.waiting import PATIENCE_S, until_async
from tests.webhook_receiver import Received, receiving
from training.candidates import prompt as candidates
from training.errors import FineTuneFailed
from training.flywheel.scheduler import FlywheelScheduler
from training.recipe.recipe import Recipe
from training.trainers.job import Job, Result

KEY = "sb-admin"
ROOT = Path(__file__).parents[3]
S = CycleState


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Database]:
    db = Database(settings.store.url)
    await db.open()
    await converse(db, 0, 20)
    yield db
    await db.close()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    with receiving() as got:
        monkeypatch.setenv("SWITCHBOARD_WEBHOOK", got.url)
        yield got


async def converse(db: Database, begin: int, end: int) -> None:
    """Store conversations that agents edited."""
    rows = [
        labelled(
            f"i{n}",
            {"edit": wanted(f"conversation i{n}")},
            created_at=float(n),
            conversation_id=drawn(n % 4 == 3, n),
        )
        for n in range(begin, end)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        await feedback.add(db, row.feedback[0])


def recipe(**flywheel: Any) -> Recipe:
    rules = {"min_new_feedback": 10, "canary": False, "backoff_s": 1000, **flywheel}
    return Recipe.model_validate(
        {
            "curation": {"min_examples": 10, "min_conversations": 8, "golden_share": 0},
            "gate": GATE_OF_FIVE,
            "lora": {"rank": 4},
            "sft": {"device": "cpu"},
            "flywheel": rules,
        }
    )


def wheel(
    db: Database,
    settings: Settings,
    stub: Stub,
    tmp_path: Path,
    *,
    chosen: Recipe | None = None,
    worker: StandIn | None = None,
    owner: str = "a",
) -> FlywheelScheduler:
    found = chosen or recipe()
    return FlywheelScheduler(
        db,
        settings,
        tmp_path / "config.yaml",
        lambda _: found,
        owner=owner,
        out=tmp_path / "runs",
        url=stub.url,
        api_key=KEY,
        worker=worker or StandIn(),
    )


async def last(db: Database) -> Cycle:
    (found,) = await cycles.latest(db, "care")
    return found


def events(hook: Received) -> list[str]:
    return [json.loads(body)["event"] for _, body in hook.posts]


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("*/checkpoints/checkpoint-*/trainer_state.json"))


async def test_a_cycle_goes_from_feedback_to_a_live_version_and_says_how(
    store: Database, settings: Settings, good: Stub, tmp_path: Path, hook: Received
) -> None:
    turned = await wheel(store, settings, good, tmp_path).step("care")
    assert (turned.action, turned.why) == ("begin", "due, with 20 new feedback")
    cycle = await last(store)
    assert (cycle.state, cycle.version, cycle.error) == (S.PROMOTED, "care@1", None)
    assert [e["state"] for e in cycle.log] == ["train", "promote", "promoted"]
    assert good.promoted == ["care@1"]
    assert good.keys == {f"Bearer {KEY}"}
    report = (tmp_path / "runs" / "cycles" / "care-0001" / "cycle.md").read_text()
    assert report.startswith("# care, cycle 1: promoted\n")
    assert "Edit similarity is better than base's" in report
    assert "(../../care@1/report.html)" in report
    assert (tmp_path / "runs" / "care@1" / "report.html").is_file()
    assert hook.posts == []
    assert await leases.holders(store) == {}
    assert (await looks.all_(store))["care"].why == "due, with 20 new feedback"
    published = await impact.latest(store, "care")
    assert published is not None
    assert [row["position"] for row in published.content["rows"]] == ["summary", "all"]
    again = await wheel(store, settings, good, tmp_path).step("care")
    assert again.action == "wait"
    look = (await looks.all_(store))["care"]
    assert (look.action, look.next_at, look.needed) == ("wait", again.at, 10)
    assert good.promoted == ["care@1"]


async def test_a_rejected_version_stays_out_and_people_are_told(
    store: Database, settings: Settings, tmp_path: Path, hook: Received
) -> None:
    with serving(Stub(lambda *_: "something else entirely")) as bad:
        await wheel(store, settings, bad, tmp_path).step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.version) == (S.REJECTED, "care@1")
    assert bad.rollouts == []
    assert events(hook) == ["rejected"]
    assert "is rejected by the gate" in json.loads(hook.posts[0][1])["text"]


async def test_too_little_data_is_no_failure_and_keeps_the_feedback_new(
    store: Database, settings: Settings, good: Stub, tmp_path: Path, hook: Received
) -> None:
    few = recipe()
    few = few.model_copy(update={"curation": few.curation.model_copy(update={"min_examples": 100})})
    await wheel(store, settings, good, tmp_path, chosen=few).step("care")
    assert (await last(store)).state is S.TOO_LITTLE_DATA
    assert (await cycles.new_feedback(store, "care"))[0] == 20
    assert hook.posts == []


async def test_a_failed_step_is_tried_again_after_a_while_then_given_up(
    store: Database, settings: Settings, good: Stub, tmp_path: Path, hook: Received
) -> None:
    broken = StandIn(FineTuneFailed("no memory"))
    turns = wheel(store, settings, good, tmp_path, chosen=recipe(retries=1), worker=broken)
    await turns.step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.attempts, cycle.error) == (S.TRAIN, 1, "no memory")
    assert cycle.retry_at is not None
    assert cycle.retry_at > time.time() + 900
    assert (await turns.step("care")).action == "wait"
    assert len(broken.jobs) == 1
    await cycles.set_flags(store, "care", forced=True)
    await turns.step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.attempts, cycle.number) == (S.FAILED, 2, 1)
    assert not (await cycles.see(store, "care")).forced
    assert broken.jobs[0].dataset_id == broken.jobs[1].dataset_id
    assert events(hook) == ["retry", "failed"]
    assert "no memory" in (tmp_path / "runs/cycles/care-0001/cycle.md").read_text()


async def test_an_evaluation_that_failed_is_tried_again_without_training_again(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    turns = wheel(store, settings, good, tmp_path, worker=trainer)
    good.answer_status = 403
    for attempts in (1, 2):
        await turns.step("care")
        cycle = await last(store)
        assert (cycle.state, cycle.attempts) == (S.TRAIN, attempts)
        await cycles.set_flags(store, "care", forced=True)
    good.answer_status = 200
    await turns.step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.version) == (S.PROMOTED, "care@1")
    assert len(trainer.jobs) == 1


async def test_a_failing_webhook_stops_nothing(
    store: Database,
    settings: Settings,
    good: Stub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SWITCHBOARD_WEBHOOK", "http://127.0.0.1:9/")
    caplog.set_level(logging.INFO, "training")
    broken = StandIn(FineTuneFailed("no memory"))
    turns = wheel(store, settings, good, tmp_path, worker=broken)
    await turns.step("care")
    assert (await last(store)).attempts == 1
    assert "care: the webhook was not reached (ConnectError)" in caplog.messages


async def test_pause_resume_and_force(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    turns = wheel(store, settings, good, tmp_path)
    await cycles.set_flags(store, "care", paused=True)
    assert (await turns.step("care")).why == "paused"
    await cycles.set_flags(store, "care", paused=False)
    await turns.step("care")
    assert (await last(store)).number == 1
    assert (await turns.step("care")).action == "wait"
    await cycles.set_flags(store, "care", forced=True)
    assert (await turns.step("care")).why == "asked for"
    assert (await last(store)).number == 2
    assert (await turns.step("care")).action == "wait"


async def test_a_pause_stops_a_cycle_after_its_step(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    class Pausing(StandIn):
        async def train(self, job: Job) -> Result:
            await cycles.set_flags(store, "care", paused=True)
            return await super().train(job)

    turns = wheel(store, settings, good, tmp_path, worker=Pausing())
    await turns.step("care")
    assert (await last(store)).state is S.PROMOTE
    assert (await turns.step("care")).why == "paused, with a cycle under way"
    assert good.promoted == []
    await cycles.set_flags(store, "care", paused=False)
    await turns.step("care")
    assert (await last(store)).state is S.PROMOTED


async def test_of_two_schedulers_one_trains(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    other = Database(settings.store.url)
    both = [
        wheel(db, settings, good, tmp_path / owner, worker=trainer, owner=owner)
        for owner, db in (("a", store), ("b", other))
    ]
    decisions = await asyncio.gather(*(one.step("care") for one in both for _ in range(3)))
    assert sorted(d.action for d in decisions).count("begin") == 1
    assert len(trainer.jobs) == 1
    assert [c.number for c in await cycles.latest(store, "care", 9)] == [1]
    assert good.promoted == ["care@1"]
    await other.close()


async def test_who_loses_the_lease_stops_and_writes_nothing_more(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    stopped = asyncio.Event()

    class Hanging(StandIn):
        async def train(self, job: Job) -> Result:
            async with store.session() as connection:  # as if this machine had been frozen
                await connection.execute(update(LeaseRow).values(expires_at=1.0))
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            raise AssertionError

    chosen = recipe(lease_s=6)
    slow = wheel(store, settings, good, tmp_path, chosen=chosen, worker=Hanging())
    decision = await slow.step("care")
    assert (decision.action, decision.why) == ("wait", "the lease on flywheel/care was lost")
    assert stopped.is_set()
    left = await last(store)
    assert (left.state, left.attempts) == (S.TRAIN, 0)
    await wheel(store, settings, good, tmp_path, chosen=chosen, owner="b").step("care")
    ended = await last(store)
    assert (ended.state, ended.number, ended.term) == (S.PROMOTED, 1, 2)
    assert ended.dataset_id == left.dataset_id


async def test_a_version_that_was_judged_before_a_crash_is_not_trained_again(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    turns = wheel(store, settings, good, tmp_path, worker=trainer)
    await turns.step("care")
    async with store.session() as connection:  # the crash came before the cycle's row was written
        values = {"state": "train", "version": None, "log": []}
        await connection.execute(update(CycleRow).values(**values))
    await turns.step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.version) == (S.PROMOTED, "care@1")
    assert len(trainer.jobs) == 1


async def test_a_dataset_that_is_not_on_this_machine_is_built_again(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    broken = StandIn(FineTuneFailed("no memory"))
    there = wheel(store, settings, good, tmp_path / "there", worker=broken)
    await there.step("care")
    (tmp_path / "there" / "runs" / "datasets").rename(tmp_path / "gone")
    await cycles.set_flags(store, "care", forced=True)
    await wheel(store, settings, good, tmp_path / "here").step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.version) == (S.PROMOTED, "care@1")
    assert "curates again" in " ".join(e["text"] for e in cycle.log)


async def test_a_version_that_passes_goes_on_canary_and_is_watched_to_its_end(
    store: Database, settings: Settings, good: Stub, tmp_path: Path, hook: Received
) -> None:
    turns = wheel(store, settings, good, tmp_path, chosen=recipe(canary=True, retries=0))
    registry = Registry(store, settings.adapters.uri)
    good.promote_status = 502  # the canary cannot begin: nothing runs, so the cycle is given up
    await turns.step("care")
    assert (await last(store)).state is S.FAILED
    good.promote_status = 200
    await cycles.set_flags(store, "care", forced=True)
    async with store.session() as connection:
        await connection.execute(update(CycleRow).values(state="canary", attempts=0))
    await routes.switch(store, "care", canary="care@1", share=0.05, action="canary")
    await turns.step("care")
    assert (await last(store)).state is S.CANARY
    await cycles.set_flags(store, "care", paused=True)
    assert (await turns.step("care")).why == "a canary is watched"
    await registry.switch("care", canary=None, share=0.0, action="cancel_canary")
    await cycles.set_flags(store, "care", paused=False)
    await turns.step("care")
    cycle = await last(store)
    assert cycle.state is S.ROLLED_BACK
    assert cycle.log[-1]["text"] == "care@1's canary was ended"
    assert events(hook) == ["failed", "rolled_back"]


async def test_a_canary_that_someone_promoted_ends_the_cycle_well(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    chosen = recipe(canary=True)
    await wheel(store, settings, good, tmp_path, chosen=chosen).step("care")
    assert [path for path, _ in good.rollouts] == ["care@1/canary"]
    await routes.switch(store, "care", live="care@1", action="promote")
    async with store.session() as connection:
        await connection.execute(update(CycleRow).values(retry_at=None))
    await wheel(store, settings, good, tmp_path, chosen=chosen).step("care")
    assert (await last(store)).state is S.PROMOTED


async def test_the_loop_turns_until_it_is_stopped(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    turns = wheel(store, settings, good, tmp_path)
    loop = asyncio.create_task(turns.run(["care"], every_s=0.1))
    await until_async(lambda: good.promoted or loop.done(), "nothing is promoted")
    assert not loop.done()
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop
    assert (await last(store)).number == 1


@pytest.mark.slow
async def test_a_scheduler_killed_while_training_is_followed_from_the_checkpoint(
    store: Database,
    settings: Settings,
    good: Stub,
    tiny_base: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
) -> None:
    """`kill -9` of the real command, with the real trainer; another finishes its work."""
    sft = tiny_recipe.sft.model_copy(update={"checkpoint_steps": 2, "epochs": 400})
    chosen = recipe(lease_s=5).model_copy(update={"sft": sft})
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "care.yaml").write_text(chosen.model_dump_json())
    settings = settings.model_copy(update={"model": str(tiny_base)})
    config = tmp_path / "config.yaml"
    config.write_text(settings.model_dump_json(exclude_unset=True))
    runs = tmp_path / "runs"
    command = [*("-m", "serving.cli", "flywheel", "run"), "--config", str(config)]
    command += ["--url", good.url, "--out", str(runs), "--every", "0.1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SWITCHBOARD_API_KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    await until_async(
        lambda: checkpoints(runs / "work") or process.returncode is not None, "no checkpoint"
    )
    assert process.returncode is None
    process.kill()
    await process.wait()
    left = await last(store)
    assert left.state is S.TRAIN

    class Looking(StandIn):
        async def train(self, job: Job) -> Result:
            assert checkpoints(Path(job.out).parent)
            return await super().train(job)

    trainer = Looking()
    heir = wheel(store, settings, good, tmp_path, chosen=chosen, worker=trainer, owner="heir")
    deadline = time.monotonic() + PATIENCE_S
    while (await heir.step("care")).action == "wait":  # the dead one's lease has yet to expire
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    ended = await last(store)
    assert (ended.state, ended.number, ended.version) == (S.PROMOTED, 1, "care@1")
    assert ended.dataset_id == left.dataset_id
    assert ended.term > left.term
    assert len(trainer.jobs) == 1


class Overtaken(StandIn):
    """A trainer beside which somebody promotes a prompt."""

    def __init__(self, db: Database, settings: Settings, file: Path) -> None:
        super().__init__()
        self.db, self.settings, self.file = db, settings, file

    async def train(self, job: Job) -> Result:
        added = await candidates.add(self.db, self.settings, "care", {"summary": self.file})
        registry = Registry(self.db, self.settings.adapters.uri)
        await registry.switch("care", live=added.version.name, action="promote")
        return await super().train(job)


@pytest.mark.parametrize("canary", [False, True])
async def test_a_cycle_does_not_take_back_a_prompt_that_was_promoted_meanwhile(
    store: Database, settings: Settings, good: Stub, tmp_path: Path, canary: bool
) -> None:
    file = tmp_path / "summary.jinja"
    file.write_text("{% block user %}{{ turns | length }}{% endblock %}")
    trainer = Overtaken(store, settings, file)
    chosen = recipe(canary=canary)
    await wheel(store, settings, good, tmp_path, chosen=chosen, worker=trainer).step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.version) == (S.REJECTED, "care@2")
    assert "care@2 has other prompts than care@1" in cycle.log[-1]["text"]
    assert good.rollouts == []


async def test_a_prompt_that_waits_for_a_canary_is_no_version_of_the_cycle_s(
    store: Database, settings: Settings, good: Stub, tmp_path: Path
) -> None:
    file = tmp_path / "summary.jinja"
    file.write_text("{% block user %}{{ turns | length }}{% endblock %}")
    await candidates.add(store, settings, "care", {"summary": file})
    await wheel(store, settings, good, tmp_path).step("care")
    cycle = await last(store)
    assert (cycle.state, cycle.version) == (S.PROMOTED, "care@2")
    assert good.promoted == ["care@2"]
