"""Datasets: what adapters were trained on."""

from typing import Any

from sqlalchemy import select, update

from serving.errors import Conflict, NotFound
from serving.store import audit
from serving.store.audit import operator
from serving.store.database import Database
from serving.store.erasure import erasures, tombstones
from serving.store.erasure.datasets import ERASED
from serving.store.records import DatasetRecord
from serving.store.tables import Dataset


async def save(db: Database, record: DatasetRecord, erasure: int | None = None) -> bool:
    """Store a dataset once; its id is its content, so a second save changes nothing.

    Args:
        db: The store.
        record: The dataset.
        erasure: The newest erasure when its rows began to be read; None does not ask.

    Returns:
        Whether it was new.

    Raises:
        Conflict: Something has been erased since; the dataset may hold it.
    """
    statement = db.insert(Dataset).values(record.model_dump())
    async with db.session() as connection:
        if erasure is not None:
            await tombstones.share(db, connection)
            if await erasures.newest_in(connection) != erasure:
                raise Conflict(
                    "something was erased while the dataset was built, which it may hold: "
                    "build it again"
                )
        rows = await connection.execute(statement.on_conflict_do_nothing().returning(Dataset.id))
        new = rows.first() is not None
        if new:
            kind = record.manifest.get("kind")
            detail = {"lob": record.lob, "kind": kind, "by": operator()}
            await audit.append(connection, None, "build_dataset", record.id, detail)
        return new


async def move(db: Database, id: str, uri: str) -> None:  # noqa: A002
    """Note that a dataset's files lie elsewhere now; its content is its id, so it is the same."""
    async with db.session() as connection:
        await connection.execute(update(Dataset).where(Dataset.id == id).values(uri=uri))


async def get(db: Database, id: str) -> DatasetRecord | None:  # noqa: A002
    """Return one dataset, or None if there is none of this id."""
    async with db.reader() as connection:
        rows = await connection.execute(select(Dataset).where(Dataset.id == id))
        row = rows.mappings().one_or_none()
    return DatasetRecord.model_validate(dict(row)) if row else None


async def find(db: Database, prefix: str) -> DatasetRecord:
    """Return the dataset whose id begins so; where rows were erased, the one without them.

    Raises:
        NotFound: There is none.
        Conflict: There are several.
    """
    mine = Dataset.id.startswith(prefix, autoescape=True)
    async with db.reader() as connection:
        rows = (await connection.execute(select(Dataset).where(mine).limit(2))).mappings().all()
    if not rows or not prefix:
        raise NotFound(f"there is no dataset {prefix!r}", param="id")
    if len(rows) > 1:
        raise Conflict(f"several datasets begin with {prefix!r}: give more of the id")
    found = DatasetRecord.model_validate(dict(rows[0]))
    while found.manifest.get("kind") == ERASED:
        successor = await get(db, found.manifest["successor"])
        if successor is None:
            raise NotFound(f"the dataset {prefix!r} was erased", param="id")
        found = successor
    return found


async def list_all(db: Database, lob: str | None = None) -> list[DatasetRecord]:
    """Return all datasets, or those of one line of business, oldest first."""
    statement = select(Dataset).order_by(Dataset.created_at, Dataset.id)
    if lob is not None:
        statement = statement.where(Dataset.lob == lob)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [DatasetRecord.model_validate(dict(row)) for row in rows]


async def part(db: Database, id: str, name: str) -> Any:  # noqa: A002
    """Return one part of a dataset's manifest; None where there is no such dataset or part."""
    statement = select(Dataset.manifest[name]).where(Dataset.id == id)
    async with db.reader() as connection:
        return (await connection.execute(statement)).scalar_one_or_none()


async def parts(db: Database, lob: str, kind: str, part: str) -> list[tuple[str, Any]]:
    """Return the ids and one part of the manifests of a kind of dataset, oldest first.

    Args:
        db: The store.
        lob: The line of business.
        kind: The manifests' `kind`.
        part: A key of the manifests; manifests without it are left out.
    """
    statement = (
        select(Dataset.id, Dataset.manifest[part])
        .where(Dataset.lob == lob, Dataset.manifest["kind"].as_string() == kind)
        .order_by(Dataset.created_at, Dataset.id)
    )
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).all()
    return [(id_, content) for id_, content in rows if content is not None]
