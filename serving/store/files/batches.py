"""Batches and the results of their lines.

A result is stored once for each (batch, line), and counted from what is stored; every change of
status compares and sets, so two workers cannot end a batch twice.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, func, insert, select, update

from serving.errors import Conflict, NotFound
from serving.store.database import Database
from serving.store.files.records import ACTIVE, BatchRecord, covers
from serving.store.files.tables import BatchResultRow, BatchRow, FileRow
from serving.store.leases import now
from serving.store.records import Json
from serving.store.tables import LeaseRow

PAGE = 200
"""Results that are read at once."""
_LEASE = "@batch/"  # no line of business can be called so


class Reading(NamedTuple):
    """A batch's files."""

    id: str
    status: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None


def lease(id_: str) -> str:
    """Return the name of a batch's lease."""
    return f"{_LEASE}{id_}"


async def create(db: Database, values: Json, window_s: float) -> BatchRecord:
    """Make a batch, whose window begins now by the database's clock.

    Raises:
        Conflict: Its input file is gone.
    """
    async with db.session() as connection:
        there = select(FileRow.id).where(
            FileRow.id == values["input_file_id"], FileRow.state == "processed"
        )
        if await connection.scalar(there.with_for_update()) is None:
            raise Conflict("The input file was deleted meanwhile.", param="input_file_id")
        at = float(await connection.scalar(select(now(db))) or 0)
        row = values | {
            "status": "validating",
            "created_at": at,
            "expires_at": at + window_s,
            "times": {},
            "completed": 0,
            "failed": 0,
            "errors": [],
        }
        await connection.execute(insert(BatchRow).values(row))
    return await get(db, values["id"])


async def get(db: Database, id_: str, lobs: Sequence[str] | None = None) -> BatchRecord:
    """Return a batch that a key of these lines covers, with live counts; None is every batch.

    Raises:
        NotFound: There is none, or it is another's.
    """
    async with db.reader() as connection:
        row = (await connection.execute(_all(db).where(BatchRow.id == id_))).mappings().first()
    if row is None or (lobs is not None and not covers(lobs, row["scope"])):
        raise NotFound(f"There is no batch {id_[:128]}.", param="batch_id")
    return _record(row)


async def page(
    db: Database, lobs: Sequence[str], *, after: str | None, limit: int
) -> tuple[list[BatchRecord], bool]:
    """Return the batches that a key of these lines covers, newest first, and whether more are."""
    async with db.reader() as connection:
        scopes = (await connection.execute(select(BatchRow.scope).distinct())).scalars().all()
        mine = _all(db).where(BatchRow.scope.in_([one for one in scopes if covers(lobs, one)]))
        if after is not None:
            mine = mine.where(BatchRow.id < after)
        mine = mine.order_by(BatchRow.id.desc()).limit(limit + 1)
        rows = (await connection.execute(mine)).mappings().all()
    found = [_record(row) for row in rows]
    return found[:limit], len(found) > limit


async def unfinished(db: Database) -> dict[str, str]:
    """Return the status of each batch that somebody must work on, by id, oldest first."""
    active = select(BatchRow.id, BatchRow.status).where(BatchRow.status.in_(ACTIVE))
    async with db.reader() as connection:
        rows = (await connection.execute(active.order_by(BatchRow.id))).all()
    return {row.id: row.status for row in rows}


async def reading(db: Database) -> list[Reading]:
    """Return which files each batch reads and has written, whatever its status."""
    columns = (
        *(BatchRow.id, BatchRow.status, BatchRow.input_file_id),
        *(BatchRow.output_file_id, BatchRow.error_file_id),
    )
    async with db.reader() as connection:
        rows = (await connection.execute(select(*columns).order_by(BatchRow.id))).all()
    return [Reading(*row) for row in rows]


async def goes_on(db: Database, id_: str) -> bool:
    """Whether a batch's lines are still to be answered: neither cancelled nor expired."""
    statement = select(BatchRow.id).where(
        BatchRow.id == id_, BatchRow.status == "in_progress", BatchRow.expires_at > now(db)
    )
    async with db.reader() as connection:
        return (await connection.execute(statement)).first() is not None


async def move(
    db: Database, id_: str, before: Sequence[str], after: str, **changes: Any
) -> BatchRecord | None:
    """Change a batch's status, and note when; None if its status is none of `before`."""
    mine = BatchRow.id == id_
    async with db.session() as connection:
        held = select(BatchRow.times, now(db)).where(mine, BatchRow.status.in_(before))
        row = (await connection.execute(held.with_for_update())).first()
        if row is None:
            return None
        times = {**row[0], after: float(row[1])}
        await connection.execute(
            update(BatchRow).where(mine).values(status=after, times=times, **changes)
        )
        if after not in ACTIVE:
            await connection.execute(delete(BatchResultRow).where(BatchResultRow.batch_id == id_))
            await connection.execute(delete(LeaseRow).where(LeaseRow.name == lease(id_)))
    return await get(db, id_)


async def keep(db: Database, id_: str, line: int, *, ok: bool, body: bytes) -> bool:
    """Store a line's result, and say whether it is the first; a later one changes nothing."""
    row = {"batch_id": id_, "line": line, "ok": ok, "body": body}
    statement = db.insert(BatchResultRow).values(row).on_conflict_do_nothing()
    async with db.session() as connection:
        return (
            await connection.execute(statement.returning(BatchResultRow.line))
        ).first() is not None


async def done(db: Database, id_: str) -> set[int]:
    """Return the numbers of the lines that have results."""
    statement = select(BatchResultRow.line).where(BatchResultRow.batch_id == id_)
    async with db.reader() as connection:
        return set((await connection.execute(statement)).scalars())


async def results(db: Database, id_: str, *, ok: bool) -> AsyncIterator[bytes]:
    """Give the results that succeeded, or those that failed, in the order of their lines."""
    last = 0
    while True:
        statement = (
            select(BatchResultRow.line, BatchResultRow.body)
            .where(
                BatchResultRow.batch_id == id_, BatchResultRow.ok == ok, BatchResultRow.line > last
            )
            .order_by(BatchResultRow.line)
            .limit(PAGE)
        )
        async with db.reader() as connection:
            rows = (await connection.execute(statement)).all()
        for line, body in rows:
            last = line
            yield body
        if len(rows) < PAGE:
            return


def _all(db: Database) -> "Select[Any]":
    """All batches, with what has been answered of each so far."""
    counts = [
        select(func.count())
        .where(BatchResultRow.batch_id == BatchRow.id, BatchResultRow.ok == ok)
        .scalar_subquery()
        .label(name)
        for ok, name in ((True, "answered"), (False, "refused"))
    ]
    return select(BatchRow, *counts, now(db).label("now"))


def _record(row: Any) -> BatchRecord:
    values = dict(row)
    answered, refused = values.pop("answered"), values.pop("refused")
    values["completed"] += answered
    values["failed"] += refused
    return BatchRecord.model_validate(values)
