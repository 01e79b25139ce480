"""The newest interactions of a line, judged or not: what its customers came for lately."""

from collections.abc import AsyncIterator, Collection

from sqlalchemy import ColumnElement, select, tuple_

from serving.store.database import Database
from serving.store.interactions import PAGE
from serving.store.records import InteractionRecord, Task
from serving.store.tables import Interaction


async def newest(
    db: Database,
    *,
    lob: str,
    tasks: Collection[Task],
    since: float | None = None,
    page: int = PAGE,
) -> AsyncIterator[InteractionRecord]:
    """Yield a line's interactions, newest first, a page in memory at a time.

    Each page is read by itself, from where the last one ended (keyset pagination).

    Args:
        db: The store.
        lob: The line of business.
        tasks: The tasks to keep.
        since: The earliest `created_at`, itself included.
        page: Rows a page.
    """
    wanted: list[ColumnElement[bool]] = [
        Interaction.lob == lob,
        Interaction.task.in_([str(task) for task in tasks]),
    ]
    if since is not None:
        wanted.append(Interaction.created_at >= since)
    key = Interaction.created_at, Interaction.id
    statement = select(Interaction).where(*wanted).order_by(*(k.desc() for k in key)).limit(page)
    before: list[ColumnElement[bool]] = []
    while True:
        async with db.reader() as connection:
            rows = (await connection.execute(statement.where(*before))).mappings().all()
        for row in rows:
            yield InteractionRecord.model_validate(dict(row))
        if len(rows) < page:
            return
        at, id_ = rows[-1]["created_at"], rows[-1]["id"]
        # The first condition is implied by the second; an index is found by it.
        before = [Interaction.created_at <= at, tuple_(*key) < tuple_(at, id_)]
