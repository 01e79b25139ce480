"""What suggestions are worth, as training's analysis last said: written by it, shown by the server.

So there is one definition of each figure (docs/impact.md), and no request computes intervals.
"""

import time

from sqlalchemy import select

from serving.store.database import Database
from serving.store.records import Json, Record
from serving.store.reports.tables import ImpactRow


class Published(Record):
    """A line's report, and when it was made; `content` is what `switchboard impact --json` says."""

    lob: str
    made_at: float
    content: Json


async def publish(db: Database, lob: str, content: Json) -> None:
    """Keep a report in place of the line's earlier one."""
    said = {"made_at": time.time(), "content": content}
    statement = db.insert(ImpactRow).values(lob=lob, **said)
    async with db.session() as connection:
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[ImpactRow.lob], set_=said)
        )


async def latest(db: Database, lob: str) -> Published | None:
    """Return a line's report; None before the first."""
    statement = select(ImpactRow).where(ImpactRow.lob == lob)
    async with db.reader() as connection:
        row = (await connection.execute(statement)).mappings().one_or_none()
    return Published.model_validate(dict(row)) if row else None
