"""What people are told of a scheduler's work: real rows, a real log of steps."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from serving.config.settings import Settings
from serving.store.database import Database
from serving.store.reports import looks
from serving.store.reports.looks import Look
from training.flywheel import telling
from training.flywheel.schedule import CycleDecision
from training.flywheel.telling import Teller, steps
from training.recipe.flywheel import FlywheelConfig
from training.trainers import tracking

RULES = FlywheelConfig(min_new_feedback=7)


@pytest.fixture
async def store(settings: Settings) -> Database:
    db = Database(settings.store.url)
    await db.open()
    return db


async def seen(db: Database) -> Look:
    return (await looks.all_(db))["care"]


def log(out: Path, *lines: object, lob: str = "care") -> Path:
    file = out / "work" / f"{lob}-0123456789abcdef" / "stage" / tracking.STEPS
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


async def test_a_decision_is_written_when_it_is_another(store: Database) -> None:
    teller = Teller(store, "me")
    await teller.decided("care", CycleDecision("wait", "next at noon", 9.0), RULES)
    first = await seen(store)
    assert (first.owner, first.action, first.why) == ("me", "wait", "next at noon")
    assert (first.next_at, first.needed) == (9.0, 7)
    await teller.decided("care", CycleDecision("wait", "next at noon", 9.0), RULES)
    assert (await seen(store)).looked_at == first.looked_at
    await teller.decided("care", CycleDecision("begin", "asked for"), RULES)
    assert (await seen(store)).why == "asked for"
    await store.close()


async def test_somebody_who_goes_on_looking_is_seen_to_look(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "AGAIN_S", 0.0)
    teller = Teller(store, "me")
    said = CycleDecision("wait", "paused")
    await teller.decided("care", said, RULES)
    first = await seen(store)
    await teller.decided("care", said, RULES)
    assert (await seen(store)).looked_at > first.looked_at
    await store.close()


async def test_a_trainings_steps_are_told_while_it_runs_and_not_after(
    store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "TELL_S", 0.01)
    teller = Teller(store, "me")
    await teller.decided("care", CycleDecision("go_on", "a cycle is under way"), RULES)

    async def until(done: int | None, total: int | None) -> None:
        look = await seen(store)
        while (look.doing, look.done, look.total) != ("training", done, total):
            await asyncio.sleep(0.02)
            look = await seen(store)

    async with teller.training("care", tmp_path):
        await until(None, None)
        log(tmp_path, {"step": 3, "of": 12, "loss": 2.0}, {"checkpoint": 3})
        await until(3, 12)
        log(tmp_path, {"step": 3, "of": 12, "loss": 2.0}, {"step": 4, "of": 12, "loss": 1.0})
        await until(4, 12)
    assert (await seen(store)).doing is None
    await store.close()


async def test_a_store_that_is_down_stops_no_training(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'missing' / 'store.sqlite'}")
    ran = False
    async with Teller(db, "me").training("care", tmp_path):
        ran = True
    assert ran
    await db.close()


def test_the_newest_log_of_the_line_counts_and_half_a_line_does_not(tmp_path: Path) -> None:
    assert steps(tmp_path, "care", 0.0) is None
    file = log(tmp_path, {"step": 5, "of": 8, "loss": 1.0})
    log(tmp_path, {"step": 7, "of": 7, "loss": 1.0}, lob="sales")
    with file.open("a") as lines:
        lines.write('{"step": 6, "of"')
    assert steps(tmp_path, "care", 0.0) == (5, 8)
    os.utime(file, (100.0, 100.0))
    assert steps(tmp_path, "care", time.time() - 60) is None  # an earlier run's
