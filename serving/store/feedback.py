"""Feedback: what people thought of an interaction."""

from sqlalchemy import select

from serving.errors import Conflict, NotFound
from serving.store.database import Database
from serving.store.interactions import storable
from serving.store.records import FeedbackRecord
from serving.store.tables import Feedback, Interaction

_CONTENT = {"interaction_id", "rating", "edit", "used", "rejected", "comment"}


async def add(db: Database, record: FeedbackRecord) -> tuple[FeedbackRecord, bool]:
    """Store feedback once, however often a client sends it.

    Args:
        db: The store.
        record: `key_id` and `client_key` together say which feedback it is.

    Returns:
        The feedback as stored first, and whether that was now.

    Raises:
        NotFound: There is no such interaction.
        Conflict: The same client key came before with other content.
    """
    text = {"edit", "comment", "client_key"}
    row = record.model_dump(exclude={"id"})
    row |= {name: storable(row[name]) for name in text if row[name] is not None}
    statement = db.insert(Feedback).values(row).on_conflict_do_nothing().returning(Feedback.id)
    first = select(Feedback).where(
        Feedback.key_id == row["key_id"], Feedback.client_key == row["client_key"]
    )
    exists = select(Interaction.id).where(Interaction.id == record.interaction_id)
    async with db.session() as connection:
        if (await connection.execute(exists)).first() is None:
            raise NotFound(f"there is no interaction {record.interaction_id!r}", param="id")
        created = (await connection.execute(statement)).first() is not None
        found = (await connection.execute(first)).mappings().one()
    stored = FeedbackRecord.model_validate(dict(found))
    if any(getattr(stored, name) != row[name] for name in _CONTENT):
        raise Conflict(
            f"the key {record.client_key!r} was used before for other feedback: "
            "use a new key for each",
            param="key",
        )
    return stored, created


async def for_interaction(db: Database, id: str) -> list[FeedbackRecord]:  # noqa: A002
    """Return all feedback on one interaction, oldest first."""
    statement = select(Feedback).where(Feedback.interaction_id == id).order_by(Feedback.id)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [FeedbackRecord.model_validate(dict(row)) for row in rows]
