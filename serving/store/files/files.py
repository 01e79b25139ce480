"""Metadata of files: reserved before the bytes are written, gone after they are."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, delete, exists, func, insert, select, text, update

from serving.errors import BodyTooLarge, Conflict, NotFound
from serving.store.database import Database
from serving.store.files.records import ACTIVE, FileRecord, covers
from serving.store.files.tables import BatchRow, FileRow
from serving.store.jobs.state import OVER
from serving.store.jobs.tables import JobRow
from serving.store.leases import now

STALE_S = 86_400.0
"""An upload that has not ended by then was cut short by a crash."""
DAY_S = 86_400.0
_QUOTA_LOCK = 0x5B_F11E5


async def reserve(db: Database, file: FileRecord, quota_bytes: int | None) -> None:
    """Note a file whose bytes are about to be written.

    Args:
        db: The store.
        file: Its metadata.
        quota_bytes: What all files of its key may take together; None is no limit.

    Raises:
        BodyTooLarge: The key's files would take more.
    """
    async with db.session() as connection:
        if quota_bytes is not None:
            if not db.is_sqlite:  # two uploads at once must see each other
                lock = text("SELECT pg_advisory_xact_lock(:lock)")
                await connection.execute(lock, {"lock": _QUOTA_LOCK})
            mine = select(func.coalesce(func.sum(FileRow.bytes), 0))
            taken = await connection.scalar(mine.where(FileRow.key_id == file.key_id))
            if int(taken or 0) + file.bytes > quota_bytes:
                raise BodyTooLarge(
                    f"This key's files would take {int(taken or 0) + file.bytes} bytes; its quota "
                    f"is {quota_bytes}. Delete some first.",
                    param="file",
                )
        values = file.model_dump(exclude={"created_at"}) | {"created_at": now(db)}
        await connection.execute(insert(FileRow).values(values))


async def finish(db: Database, id_: str) -> FileRecord:
    """Show a file whose bytes are written."""
    change = update(FileRow).where(FileRow.id == id_, FileRow.state == "uploading")
    async with db.session() as connection:
        await connection.execute(change.values(state="processed"))
    return await get(db, id_, None)


async def ids(db: Database) -> list[str]:
    """Return the ids of all files whose bytes are written, oldest first."""
    every = select(FileRow.id).where(FileRow.state == "processed").order_by(FileRow.id)
    async with db.reader() as connection:
        return list((await connection.execute(every)).scalars())


async def get(db: Database, id_: str, lobs: Sequence[str] | None) -> FileRecord:
    """Return a file that a key of these lines covers; None is every file.

    Raises:
        NotFound: There is none, or it is another's.
    """
    async with db.reader() as connection:
        row = (await connection.execute(_seen().where(FileRow.id == id_))).mappings().one_or_none()
    if row is None or (lobs is not None and not covers(lobs, row["scope"])):
        raise missing(id_)
    return FileRecord.model_validate(dict(row))


def missing(id_: str) -> NotFound:
    """Say that there is no such file, to whoever may not know of it, too."""
    return NotFound(f"There is no file {id_[:128]}.", param="file_id")


async def page(
    db: Database,
    lobs: Sequence[str],
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> tuple[list[FileRecord], bool]:
    """Return the files that a key of these lines covers, and whether there are more.

    Args:
        db: The store.
        lobs: The key's lines.
        purpose: Only files of this purpose.
        after: The id after which the page begins.
        limit: The most that are returned.
        newest_first: The order.
    """
    async with db.reader() as connection:
        scopes = (await connection.execute(select(FileRow.scope).distinct())).scalars().all()
        mine = _seen().where(FileRow.scope.in_([one for one in scopes if covers(lobs, one)]))
        if purpose is not None:
            mine = mine.where(FileRow.purpose == purpose)
        if after is not None:
            mine = mine.where(FileRow.id < after if newest_first else FileRow.id > after)
        mine = mine.order_by(FileRow.id.desc() if newest_first else FileRow.id).limit(limit + 1)
        rows = (await connection.execute(mine)).mappings().all()
    found = [FileRecord.model_validate(dict(row)) for row in rows]
    return found[:limit], len(found) > limit


async def hide(db: Database, id_: str) -> None:
    """Show a file no more; its bytes are removed next.

    Raises:
        Conflict: A batch or a fine-tuning job reads it.
    """
    named = (JobRow.training_file == id_) | (JobRow.validation_file == id_)
    learned = exists().where(named, JobRow.status.not_in([state.value for state in OVER]))
    read = exists().where(BatchRow.input_file_id == id_, BatchRow.status.in_(ACTIVE))
    change = update(FileRow).where(FileRow.id == id_).values(state="deleting")
    async with db.session() as connection:
        # A batch or job that is made now waits, and then finds the file gone.
        await connection.execute(select(FileRow.id).where(FileRow.id == id_).with_for_update())
        if await connection.scalar(select(read)):
            raise Conflict(f"A batch still reads {id_}: cancel it first.", param="file_id")
        if await connection.scalar(select(learned)):
            raise Conflict(
                f"A fine-tuning job still reads {id_}: cancel it first.", param="file_id"
            )
        await connection.execute(change)


async def everything(db: Database) -> list[FileRecord]:
    """Return every file that is shown, oldest first."""
    async with db.reader() as connection:
        rows = (await connection.execute(_seen().order_by(FileRow.id))).mappings().all()
    return [FileRecord.model_validate(dict(row)) for row in rows]


async def rewritten(db: Database, id_: str, *, size: int, lines: int) -> None:
    """Note what a file is after lines were taken out of it.

    Args:
        db: The store.
        id_: The file.
        size: Its bytes.
        lines: Its lines, blank ones not counted.
    """
    change = update(FileRow).where(FileRow.id == id_).values(bytes=size, lines=lines)
    async with db.session() as connection:
        await connection.execute(change)


async def aged(db: Database, days: float) -> list[str]:
    """Return the ids of files that are older than that, and that no batch reads."""
    read = exists().where(BatchRow.input_file_id == FileRow.id, BatchRow.status.in_(ACTIVE))
    old = (FileRow.state == "processed") & (FileRow.created_at < now(db) - days * DAY_S)
    async with db.reader() as connection:
        return list((await connection.execute(select(FileRow.id).where(old, ~read))).scalars())


async def forget(db: Database, id_: str) -> None:
    """Take away the metadata of a file whose bytes are gone."""
    async with db.session() as connection:
        await connection.execute(delete(FileRow).where(FileRow.id == id_))


async def leftovers(db: Database) -> list[str]:
    """Return the ids of files that a crash left half written or half deleted."""
    cut = (FileRow.state == "uploading") & (FileRow.created_at < now(db) - STALE_S)
    statement = select(FileRow.id).where(cut | (FileRow.state == "deleting"))
    async with db.reader() as connection:
        return list((await connection.execute(statement)).scalars())


def _seen() -> "Select[Any]":
    return select(FileRow).where(FileRow.state == "processed")
