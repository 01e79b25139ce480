"""Datasets: what adapters were trained on."""

from sqlalchemy import select

from serving.store.database import Database
from serving.store.models import Dataset
from serving.store.records import DatasetRecord


async def save(db: Database, record: DatasetRecord) -> bool:
    """Store a dataset once; its id is its content, so a second save changes nothing.

    Returns:
        Whether it was new.
    """
    statement = db.insert(Dataset).values(record.model_dump())
    async with db.session() as connection:
        rows = await connection.execute(statement.on_conflict_do_nothing().returning(Dataset.id))
        return rows.first() is not None


async def get(db: Database, id: str) -> DatasetRecord | None:  # noqa: A002
    """Return one dataset, or None if there is none of this id."""
    async with db.reader() as connection:
        rows = await connection.execute(select(Dataset).where(Dataset.id == id))
        row = rows.mappings().one_or_none()
    return DatasetRecord.model_validate(dict(row)) if row else None
