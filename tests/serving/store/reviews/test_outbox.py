"""What a webhook was told is counted by line, and a new one does not hear of the past."""

from sqlalchemy import update

from serving.store.database import Database
from serving.store.reviews import feed, outbox, queue
from serving.store.reviews.tables import ReviewEventRow
from tests.serving.store.reviews.test_queue import new

ALL = ["created", "escalated", "expired"]


async def age(db: Database, review_id: str, seconds: float) -> None:
    """Move a task's events into the past."""
    older = update(ReviewEventRow).where(ReviewEventRow.review_id == review_id)
    async with db.session() as connection:
        await connection.execute(older.values(at=ReviewEventRow.at - seconds))


async def test_a_new_webhook_hears_of_the_last_minute_only(db: Database) -> None:
    for id_ in ("review-1", "review-2", "review-3"):
        await queue.create(db, new(id_))
    await queue.create(db, new("review-4", lob="sales"))
    await age(db, "review-1", 61)
    for _ in range(2):  # beginning again changes nothing
        await outbox.begin(db, "care")
        first = await outbox.waiting(db, "care", ALL)
        assert first is not None
        assert (first.review_id, first.kind, first.kinds) == ("review-2", "created", ["amount"])
    await outbox.told(db, "care", first.number)
    await outbox.begin(db, "care")
    second = await outbox.waiting(db, "care", ALL)
    assert second is not None
    assert second.review_id == "review-3"
    await outbox.told(db, "care", second.number)
    await outbox.told(db, "care", first.number)  # a slow one's note takes nothing back
    assert await outbox.waiting(db, "care", ALL) is None
    others = await outbox.waiting(db, "sales", ALL)
    assert others is not None
    assert await feed.last(db) == others.number == 4, "the counter of events is another row"


async def test_events_older_than_a_day_are_not_told_any_more(db: Database) -> None:
    await outbox.begin(db, "care")
    await queue.create(db, new("review-1"))
    await queue.create(db, new("review-2"))
    await age(db, "review-1", outbox.AGE_S + 1)
    found = await outbox.waiting(db, "care", ALL)
    assert found is not None
    assert found.review_id == "review-2"
