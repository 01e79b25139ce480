"""What is known of an interaction's redaction, so that what is said about it goes the same way."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.database import Database
from serving.store.privacy.tables import Redaction
from serving.store.records import Record


class RedactionRecord(Record):
    """How one interaction was redacted: key, version of the rules, and digests of its values."""

    interaction_id: str
    scope: str
    key_id: str
    version: int
    known: dict[str, str]


async def add(
    db: Database, connection: AsyncConnection, records: Sequence[RedactionRecord]
) -> None:
    """Store them in the transaction that stores their interactions; a second time changes nothing.

    Args:
        db: The store, for its dialect.
        connection: In that transaction.
        records: One an interaction.
    """
    if records:
        statement = db.insert(Redaction).on_conflict_do_nothing()
        await connection.execute(statement, [record.model_dump() for record in records])


async def get(db: Database, interaction_id: str) -> RedactionRecord | None:
    """Return how an interaction was redacted; None: it was not, or is not there."""
    statement = select(Redaction).where(Redaction.interaction_id == interaction_id)
    async with db.reader() as connection:
        row = (await connection.execute(statement)).mappings().one_or_none()
    return RedactionRecord.model_validate(dict(row)) if row else None
