"""Batches and their results, in both databases."""

import asyncio
from typing import Any

import pytest

from serving.errors import Conflict, NotFound
from serving.store import leases
from serving.store.database import Database
from serving.store.files import batches, files
from serving.store.files.records import BatchRecord, new_id
from tests.serving.store.files.test_files import file


async def made(db: Database, window_s: float = 60.0, **fields: Any) -> BatchRecord:
    read = file()
    await files.reserve(db, read, None)
    await files.finish(db, read.id)
    values = {
        "id": new_id("batch_"),
        "key_id": "key_1",
        "scope": read.scope,
        "endpoint": "/v1/responses",
        "input_file_id": read.id,
        "completion_window": "24h",
        "total": 3,
        "labels": {"for": "tests"},
    }
    return await batches.create(db, values | fields, window_s)


async def test_a_result_counts_when_it_is_stored_and_once(db: Database) -> None:
    batch = await made(db)
    stored = [batches.keep(db, batch.id, 7, ok=True, body=b"%d" % i) for i in range(4)]
    assert sorted(await asyncio.gather(*stored)) == [False, False, False, True]
    await batches.keep(db, batch.id, 2, ok=True, body=b"two")
    await batches.keep(db, batch.id, 3, ok=False, body=b"three")
    found = await batches.get(db, batch.id, ["care"])
    assert (found.total, found.completed, found.failed) == (3, 2, 1)
    assert await batches.done(db, batch.id) == {2, 3, 7}
    assert [one async for one in batches.results(db, batch.id, ok=False)] == [b"three"]
    assert b"two" in [one async for one in batches.results(db, batch.id, ok=True)]


async def test_results_are_read_in_the_order_of_lines_over_pages(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAGE", 2)
    batch = await made(db)
    for line in (5, 3, 1, 4, 2):
        await batches.keep(db, batch.id, line, ok=True, body=b"%d" % line)
    found = [one async for one in batches.results(db, batch.id, ok=True)]
    assert found == [b"1", b"2", b"3", b"4", b"5"]


async def test_one_of_many_ends_a_batch_and_its_results_go(db: Database) -> None:
    batch = await made(db)
    assert await batches.unfinished(db) == {batch.id: "validating"}
    assert not await batches.goes_on(db, batch.id)
    assert await leases.acquire(db, batches.lease(batch.id), "w", 60) is not None
    await batches.move(db, batch.id, ("validating",), "in_progress")
    assert await batches.goes_on(db, batch.id)
    await batches.keep(db, batch.id, 1, ok=True, body=b"one")
    ends = [
        batches.move(db, batch.id, ("in_progress",), "completed", completed=1, output_file_id="f")
        for _ in range(4)
    ]
    done = [one for one in await asyncio.gather(*ends) if one is not None]
    assert len(done) == 1
    assert (done[0].status, done[0].completed, done[0].output_file_id) == ("completed", 1, "f")
    assert set(done[0].times) == {"in_progress", "completed"}
    assert await batches.done(db, batch.id) == set()
    assert await batches.unfinished(db) == {}
    assert await leases.holders(db) == {}


async def test_a_window_ends_by_the_databases_clock(db: Database) -> None:
    batch = await made(db, window_s=0.0)
    await batches.move(db, batch.id, ("validating",), "in_progress")
    assert (await batches.get(db, batch.id)).expired
    assert not await batches.goes_on(db, batch.id)
    assert not (await made(db)).expired


async def test_a_file_and_its_batch_hold_each_other(db: Database) -> None:
    batch = await made(db)
    with pytest.raises(Conflict):
        await files.hide(db, batch.input_file_id)
    await batches.move(db, batch.id, ("validating",), "cancelled")
    await files.hide(db, batch.input_file_id)
    with pytest.raises(Conflict):
        await made(db, input_file_id=batch.input_file_id)


async def test_batches_are_paged_by_what_a_key_covers(db: Database) -> None:
    ids = [(await made(db)).id for _ in range(3)]
    first, more = await batches.page(db, ["care"], after=None, limit=2)
    assert [one.id for one in first] == sorted(ids, reverse=True)[:2]
    assert more
    last, more = await batches.page(db, ["*"], after=first[-1].id, limit=2)
    assert ([one.id for one in last], more) == ([min(ids)], False)
    assert await batches.page(db, ["sales"], after=None, limit=2) == ([], False)
    with pytest.raises(NotFound):
        await batches.get(db, ids[0], ["sales"])
