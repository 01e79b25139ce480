"""What the flywheel's scheduler decided last, and how far its present step is.

The schedule itself lies in recipes, which the server does not read: so the scheduler says here what
it decided. It never decides by these rows; whoever reads them sees when they were written.
"""

import time

from sqlalchemy import select, update

from serving.store.database import Database
from serving.store.records import Record
from serving.store.reports.tables import LookRow


class Look(Record):
    """A scheduler's last look at a line of business.

    Args:
        lob: The line of business.
        owner: Who looked.
        action: `begin`, `go_on` or `wait`.
        why: Its reason, in words.
        next_at: Until when it waits, where that is known; seconds since the epoch, as all times.
        needed: New feedback without which no cycle begins.
        looked_at: When.
        doing: What of the present step goes on, such as `training`; None where nobody told.
        done: So much of it.
        total: In all.
        told_at: When that was told.
    """

    lob: str
    owner: str
    action: str
    why: str
    next_at: float | None
    needed: int
    looked_at: float
    doing: str | None = None
    done: int | None = None
    total: int | None = None
    told_at: float | None = None


async def save(
    db: Database, lob: str, *, owner: str, action: str, why: str, next_at: float | None, needed: int
) -> None:
    """Note what a scheduler decided, in place of what it decided before."""
    said = {
        "owner": owner,
        "action": action,
        "why": why,
        "next_at": next_at,
        "needed": needed,
        "looked_at": time.time(),
    }
    statement = db.insert(LookRow).values(lob=lob, **said)
    async with db.session() as connection:
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[LookRow.lob], set_=said)
        )


async def tell(
    db: Database,
    lob: str,
    owner: str,
    doing: str | None,
    done: int | None = None,
    total: int | None = None,
) -> None:
    """Note how far a step is; of a scheduler that did not look last nothing is noted."""
    mine = update(LookRow).where(LookRow.lob == lob, LookRow.owner == owner)
    said = mine.values(doing=doing, done=done, total=total, told_at=time.time())
    async with db.session() as connection:
        await connection.execute(said)


async def all_(db: Database) -> dict[str, Look]:
    """Return the last look at each line of business."""
    async with db.reader() as connection:
        rows = (await connection.execute(select(LookRow))).mappings().all()
    return {row["lob"]: Look.model_validate(dict(row)) for row in rows}
