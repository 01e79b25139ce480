"""What happened in the review queue, to be read on from where a reader stopped.

Numbers follow commits (`tables.ReviewCounterRow`), so a reader who has seen one has missed none
below it.
"""

from sqlalchemy import select

from serving.store.database import Database
from serving.store.reviews.queue import COUNTER, PAGE
from serving.store.reviews.records import ReviewEvent
from serving.store.reviews.tables import ReviewCounterRow, ReviewEventRow


async def last(db: Database) -> int:
    """Return the number of the last event; 0 where there is none."""
    statement = select(ReviewCounterRow.last).where(ReviewCounterRow.name == COUNTER)
    async with db.reader() as connection:
        return (await connection.execute(statement)).scalar_one_or_none() or 0


async def since(
    db: Database, after: int, lobs: tuple[str, ...] | None = None, limit: int = PAGE
) -> list[ReviewEvent]:
    """Return the events after a number, oldest first.

    Args:
        db: The store.
        after: The last that the reader has seen.
        lobs: Of these lines; None: of all.
        limit: At most so many.
    """
    statement = select(ReviewEventRow).where(ReviewEventRow.number > after)
    if lobs is not None:
        statement = statement.where(ReviewEventRow.lob.in_(lobs))
    async with db.reader() as connection:
        rows = await connection.execute(statement.order_by(ReviewEventRow.number).limit(limit))
        return [ReviewEvent.model_validate(dict(row)) for row in rows.mappings()]
