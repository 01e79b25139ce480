"""Events: read on from any number, none missed while others write."""

import asyncio

from serving.store.database import Database
from serving.store.reviews import feed, queue
from tests.serving.store.reviews.test_queue import new


async def test_a_reader_misses_nothing_while_many_write(db: Database, store_url: str) -> None:
    others = [Database(store_url) for _ in range(4)]
    writing = asyncio.gather(*(queue.create(others[n % 4], new(f"review-{n}")) for n in range(40)))
    seen: list[int] = []
    while not writing.done() or await feed.last(db) > len(seen):
        seen += [event.number for event in await feed.since(db, seen[-1] if seen else 0)]
        await asyncio.sleep(0)
    await writing
    assert seen == list(range(1, 41))
    for other in others:
        await other.close()


async def test_events_are_those_of_the_lines_named_and_a_page_at_most(db: Database) -> None:
    assert await feed.last(db) == 0
    for number, lob in enumerate(("care", "sales", "care")):
        await queue.create(db, new(f"review-{number}", lob=lob))
    assert [one.number for one in await feed.since(db, 0, ("care",))] == [1, 3]
    assert [one.number for one in await feed.since(db, 0, limit=2)] == [1, 2]
    assert await feed.last(db) == 3
