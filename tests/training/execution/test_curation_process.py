"""The process that makes datasets, over a real store."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.errors import StoreUnavailable
from serving.store import interactions
from serving.store.database import Database
from serving.store.tables import Feedback
from tests.training.records import drawn, labelled
from tests.waiting import until_async
from training.data import repository
from training.errors import CurationFailed, TooLittleData
from training.execution import curation_process
from training.recipe.recipe import Recipe

ROWS = 3000
RECIPE = Recipe.model_validate({"curation": {"golden_share": 0}})
WAITING = (sys.executable, "-c", "import sys; sys.stdin.readline(); sys.stdin.read()")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    yield db
    await db.close()


def url(db: Database) -> str:
    return f"sqlite:///{db.url.database}"


async def fill(db: Database, count: int) -> None:
    rows = [
        labelled(
            f"i{n}",
            {"edit": f"final text number {n}"},
            created_at=float(n),
            conversation_id=drawn(n % 40 == 0, n // 8),
        )
        for n in range(count)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    said = [row.feedback[0].model_dump(exclude={"id"}) for row in rows]
    async with db.session() as connection:
        await connection.execute(db.insert(Feedback), said)


async def process_of(task: asyncio.Task[object]) -> int:
    """Return the id of the one process that this one has started and not ended."""

    def children() -> list[int]:
        found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [
            int(pid)
            for pid in found
            if b"sys.stdin.read()" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    return (await until_async(children, "the process runs"))[0]


async def test_the_loop_goes_on_while_a_dataset_is_made(store: Database, tmp_path: Path) -> None:
    await fill(store, ROWS)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    built = await curation_process.build(url(store), "care", RECIPE, tmp_path / "a")
    during = beats
    beating.cancel()
    assert during >= 10
    assert len(built.train) > ROWS / 2
    assert built == await repository.find(store, built.id)
    own = await repository.build(store, "care", RECIPE.curation, tmp_path / "b")
    assert own.id == built.id


async def test_errors_come_back_by_their_names(store: Database, tmp_path: Path) -> None:
    await fill(store, 5)
    with pytest.raises(TooLittleData, match="25 examples and 8 conversations are missing"):
        await curation_process.build(url(store), "care", RECIPE, tmp_path)
    with pytest.raises(StoreUnavailable) as caught:
        await curation_process.build(f"sqlite:///{tmp_path}", "care", RECIPE, tmp_path)
    assert "unable to open database file" in str(caught.value.reason)
    (tmp_path / "file").touch()
    with pytest.raises(CurationFailed, match=r"care: the dataset could not be made: .*Error"):
        await curation_process.build(url(store), "care", RECIPE, tmp_path / "file")


async def test_a_process_that_is_killed_is_named_with_its_signal(tmp_path: Path) -> None:
    work = curation_process.build("sqlite:///none", "care", RECIPE, tmp_path, WAITING)
    building = asyncio.create_task(work)
    os.kill(await process_of(building), signal.SIGKILL)
    with pytest.raises(CurationFailed, match="care: the curation process was killed by signal 9"):
        await building


async def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    work = curation_process.build("sqlite:///none", "care", RECIPE, tmp_path, WAITING)
    building = asyncio.create_task(work)
    pid = await process_of(building)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
