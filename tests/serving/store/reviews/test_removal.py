"""Review tasks go with an erasure, sealed or not, also those whose answer comes late."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from serving.capture import Journal
from serving.erasure import run
from serving.errors import NotFound
from serving.files.storage import FileStorage
from serving.store.database import Database
from serving.store.erasure import erasures
from serving.store.reviews import feed, queue
from serving.store.reviews.records import NewReview
from serving.store.reviews.tables import ReviewEventRow, ReviewRow
from tests.serving.erasure.talk import SEED, holding, payload, replica, until_stored

SEALED = b"\x01sealed-7Q-44-bytes"


async def task(db: Database, interaction_id: str, context: bytes) -> str:
    new = NewReview(
        id=f"review-{interaction_id}",
        lob="care",
        task="chat",
        version="care@1",
        interaction_id=interaction_id,
        kinds=["amount"],
        deadline_s=100,
        escalation_s=100,
        context=context,
    )
    return (await queue.create(db, new)).id


async def erase(db: Database, folder: Path, kind: str, name: str) -> run.Erasure:
    done, waiting = await run.erase(
        db,
        run.target(kind, name, None, None),
        reason="asked",
        key_id=None,
        journal_dir=folder,
        keyring=None,
        storage=FileStorage(str(folder / "files")),
    )
    assert waiting == []
    return done


async def tasks(db: Database) -> list[str]:
    return sorted([one.id for one in await queue.find(db)])


@pytest.mark.parametrize("context", [SEED.encode(), SEALED], ids=["plain", "sealed"])
async def test_no_byte_of_an_erased_conversations_tasks_is_left(
    tmp_path: Path, context: bytes
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    folder = tmp_path / "journal"
    async with replica(db, folder) as journal:
        for id_, talk in (("one", "c-1"), ("two", "c-1"), ("other", "c-2")):
            journal.append(payload(id_, talk, "an answer"))
            await until_stored(db, id_)
        mine, decided = await task(db, "one", context), await task(db, "two", context)
        kept = await task(db, "other", b'{"text": "another"}')
        await queue.claim(db, decided, "ann", 10)
        await queue.decide(db, decided, "ann", queue.Decision.EDIT, context)
        assert holding(tmp_path, context)
        done = await erase(db, folder, "conversation", "c-1")
        assert done.counts["reviews"] == 2
        assert holding(tmp_path, context) == []
        assert await tasks(db) == [kept]
        assert {event.review_id for event in await feed.since(db, 0)} == {kept}
        with pytest.raises(NotFound):
            await queue.get(db, mine)
    await db.close()


async def test_a_task_goes_when_its_answer_is_refused_by_a_drain(
    db: Database, tmp_path: Path
) -> None:
    async with replica(db, tmp_path) as journal:
        assert (await erase(db, tmp_path, "conversation", "c-1")).state == "done"
        gone, kept = await task(db, "late", b"{}"), await task(db, "other", b"{}")
        journal.append(payload("late", "c-1", SEED))
        journal.append(payload("other", "c-2", "another"))
        await until_stored(db, "other")
    assert await tasks(db) == [kept] != [gone]


async def test_a_task_goes_when_its_answer_waits_in_a_journal_nobody_holds(
    db: Database, tmp_path: Path
) -> None:
    async with replica(db, tmp_path / "elsewhere") as journal:
        journal.append(payload("stored", "c-2", "another"))
        await until_stored(db, "stored")
    dead = Journal(tmp_path / "journal", "dead")
    dead.append(payload("one", "c-1", SEED))
    dead.close()
    await task(db, "one", b"{}")
    kept = await task(db, "stored", b"{}")
    await erasures.left(db, "a")
    await erase(db, tmp_path / "journal", "conversation", "c-1")
    assert await tasks(db) == [kept]


async def test_a_persons_late_answer_takes_its_conversations_tasks_along(
    db: Database, tmp_path: Path
) -> None:
    async with replica(db, tmp_path) as journal:
        journal.append(payload("reply", "c-1", "fine", user="agent"))
        await until_stored(db, "reply")
        await task(db, "reply", b"{}")
        assert (await erase(db, tmp_path, "person", "anna")).counts.get("reviews", 0) == 0
        journal.append(payload("late", "c-1", SEED, user="anna", at=1.0))
        journal.append(payload("after", "c-2", "fine", user="agent"))
        await until_stored(db, "after")
    assert await tasks(db) == []
    async with db.reader() as connection:
        for table in (ReviewRow, ReviewEventRow):
            count = select(func.count()).select_from(table)
            assert (await connection.execute(count)).scalar() == 0
