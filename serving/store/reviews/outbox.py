"""What of a line's review queue its webhook has not been told yet.

A number a line: of the last event that was taken. Numbers follow commits, so none comes below it
later; whoever is killed between the telling and its note tells once more.
"""

from collections.abc import Sequence

from pydantic import Field
from sqlalchemy import func, select

from serving.store import leases
from serving.store.database import Database
from serving.store.records import Record
from serving.store.reviews.records import EventKind
from serving.store.reviews.tables import ReviewCounterRow, ReviewEventRow, ReviewRow

TOLD = "told:"
FIRST_S = 60.0
"""A line whose webhook is new is told what happened since so long."""
AGE_S = 24 * 3600.0
"""What is older is not told any more."""


class Notice(Record):
    """An event with what people need to know of its task; no texts.

    Args:
        number: The event's.
        kinds: What was found.
        deadline: When the task is escalated, in seconds since the epoch.
        final_deadline: When it expires.
    """

    number: int
    review_id: str
    lob: str
    task: str
    kind: EventKind
    at: float
    kinds: list[str] = Field(default_factory=list)
    escalate_to: list[str] = Field(default_factory=list)
    deadline: float
    final_deadline: float


_OF_EVENT = ("number", "review_id", "lob", "kind", "at")
_OF_TASK = ("task", "kinds", "escalate_to", "deadline", "final_deadline")


async def begin(db: Database, lob: str) -> None:
    """Tell a line's webhook of what happens from about now on, unless it is told already."""
    old = ReviewEventRow.at <= leases.now(db) - FIRST_S
    last = select(func.coalesce(func.max(ReviewEventRow.number), 0)).where(
        ReviewEventRow.lob == lob, old
    )
    start = db.insert(ReviewCounterRow).values(name=TOLD + lob, last=last.scalar_subquery())
    async with db.session() as connection:
        await connection.execute(start.on_conflict_do_nothing())


async def waiting(db: Database, lob: str, kinds: Sequence[str]) -> Notice | None:
    """Return the oldest event of a line that its webhook has not taken; None: there is none.

    Args:
        db: The store.
        lob: The line.
        kinds: Those that it wants to hear of.
    """
    columns = [getattr(ReviewEventRow, name) for name in _OF_EVENT]
    columns += [getattr(ReviewRow, name) for name in _OF_TASK]
    taken = select(ReviewCounterRow.last).where(ReviewCounterRow.name == TOLD + lob)
    statement = (
        select(*columns)
        .join(ReviewRow, ReviewRow.id == ReviewEventRow.review_id)
        .where(
            ReviewEventRow.lob == lob,
            ReviewEventRow.kind.in_(kinds),
            ReviewEventRow.number > func.coalesce(taken.scalar_subquery(), 0),
            ReviewEventRow.at > leases.now(db) - AGE_S,
        )
        .order_by(ReviewEventRow.number)
        .limit(1)
    )
    async with db.reader() as connection:
        row = (await connection.execute(statement)).mappings().first()
    return None if row is None else Notice.model_validate(dict(row))


async def told(db: Database, lob: str, number: int) -> None:
    """Note that a line's webhook took an event, and with it all before."""
    mark = db.insert(ReviewCounterRow).values(name=TOLD + lob, last=number)
    done = mark.on_conflict_do_update(
        index_elements=[ReviewCounterRow.name],
        set_={"last": number},
        where=ReviewCounterRow.last < number,
    )
    async with db.session() as connection:
        await connection.execute(done)
