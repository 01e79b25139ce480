"""Metadata of files, in both databases."""

import asyncio

import pytest

from serving.errors import BodyTooLarge, NotFound, SwitchboardError
from serving.store.database import Database
from serving.store.files import batches, files
from serving.store.files.records import FileRecord, covers, new_id, scope_of


def file(size: int = 10, lobs: tuple[str, ...] = ("care",), key: str = "key_1") -> FileRecord:
    return FileRecord(
        id=new_id("file-"),
        key_id=key,
        scope=scope_of(lobs),
        purpose="batch",
        filename="in.jsonl",
        bytes=size,
        lines=3,
        urls=["/v1/responses"],
    )


async def test_a_file_is_seen_when_its_bytes_are_there_and_until_they_go(db: Database) -> None:
    made = file()
    await files.reserve(db, made, 100)
    with pytest.raises(NotFound):
        await files.get(db, made.id, None)
    found = await files.finish(db, made.id)
    assert found.model_dump(exclude={"created_at", "state"}) == made.model_dump(
        exclude={"created_at", "state"}
    )
    assert found.created_at > 1_600_000_000
    assert await files.leftovers(db) == []
    await files.hide(db, made.id)
    with pytest.raises(NotFound):
        await files.get(db, made.id, ["*"])
    assert await files.leftovers(db) == [made.id]
    await files.forget(db, made.id)
    assert await files.leftovers(db) == []


async def test_uploads_at_once_keep_to_a_keys_quota(db: Database) -> None:
    attempts = [files.reserve(db, file(40), 100) for _ in range(6)]
    found = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(one is None for one in found) == 2
    assert all(isinstance(one, BodyTooLarge) for one in found if one is not None)
    await files.reserve(db, file(40, key="key_2"), 100)
    await files.reserve(db, file(4000), None)  # what a batch writes


async def test_pages_hold_what_a_key_covers(db: Database) -> None:
    made = [file(lobs=lobs) for lobs in (("care",), ("sales",), ("care", "sales"), ("*",))]
    for one in made:
        await files.reserve(db, one, None)
        await files.finish(db, one.id)
    seen = {
        lobs: [
            one.id
            for one in (
                await files.page(db, lobs, purpose="batch", after=None, limit=9, newest_first=False)
            )[0]
        ]
        for lobs in (("care",), ("care", "sales"), ("*",), ("other",))
    }
    ids = [one.id for one in made]
    assert sorted(seen[("care",)]) == ids[:1]
    assert sorted(seen[("care", "sales")]) == sorted(ids[:3])
    assert sorted(seen[("*",)]) == sorted(ids)
    assert seen[("other",)] == []
    first, more = await files.page(db, ["*"], purpose=None, after=None, limit=3, newest_first=True)
    assert [one.id for one in first] == sorted(ids, reverse=True)[:3]
    assert more
    last, more = await files.page(
        db, ["*"], purpose=None, after=first[-1].id, limit=3, newest_first=True
    )
    assert [one.id for one in last] == [min(ids)]
    assert not more


def test_a_scope_is_covered_whole_or_not_at_all() -> None:
    assert covers(["*"], scope_of(["*"]))
    assert covers(["b", "a", "@base"], scope_of(["a", "b"]))
    assert not covers(["a"], scope_of(["a", "b"]))
    assert not covers(["a", "b"], scope_of(["*"]))


async def test_an_id_that_is_taken_is_refused(db: Database) -> None:
    made = file()
    await files.reserve(db, made, None)
    with pytest.raises(SwitchboardError):
        await files.reserve(db, made, None)


async def test_files_age_unless_a_batch_reads_them(db: Database) -> None:
    old, read = file(), file()
    for one in (old, read):
        await files.reserve(db, one, None)
        await files.finish(db, one.id)
    values = {
        "id": new_id("batch_"),
        "key_id": "key_1",
        "scope": read.scope,
        "endpoint": "/v1/responses",
        "input_file_id": read.id,
        "completion_window": "24h",
        "total": 3,
        "labels": {},
    }
    batch = await batches.create(db, values, 60.0)
    assert await files.aged(db, 1.0) == []
    assert await files.aged(db, -1.0) == [old.id]
    await batches.move(db, batch.id, ["validating"], "cancelled")
    assert sorted(await files.aged(db, -1.0)) == sorted([old.id, read.id])
