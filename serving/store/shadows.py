"""Shadow answers: what another version would have answered to a request, which nobody saw.

They lie apart from the interactions, so that nothing that counts, shows or teaches reads them; and
they go with their interaction.
"""

import time

from pydantic import Field
from sqlalchemy import select

from serving.store.database import Database, storable
from serving.store.records import Record
from serving.store.tables import Interaction, ShadowAnswer


class ShadowRecord(Record):
    """One shadow's answer, beside what was shown for the interaction."""

    interaction_id: str = Field(min_length=1)
    version: str
    output: str
    finish_reason: str | None = None
    latency_ms: float
    created_at: float = Field(default_factory=time.time)


async def add(db: Database, answer: ShadowRecord) -> bool:
    """Store an answer; a second one of the same version to the same request changes nothing.

    Returns:
        Whether it is stored. False: its interaction is not, either not yet or not any more.

    Raises:
        StoreUnavailable: The store does not answer.
    """
    mine = select(Interaction.id).where(Interaction.id == answer.interaction_id)
    row = answer.model_dump() | {"output": storable(answer.output)}
    async with db.session() as connection:
        # Locked, where rows can be: it must not be erased before the answer refers to it.
        if (await connection.execute(mine.with_for_update(read=True))).first() is None:
            return False
        await connection.execute(db.insert(ShadowAnswer).values(row).on_conflict_do_nothing())
    return True


async def for_line(db: Database, *, lob: str, version: str, since: float) -> list[ShadowRecord]:
    """Return a version's shadow answers to a line's requests, oldest first.

    Args:
        db: The store.
        lob: The line of business.
        version: The shadow.
        since: The earliest `created_at`, itself included.
    """
    columns = [getattr(ShadowAnswer, name) for name in ShadowRecord.model_fields]
    statement = (
        select(*columns)
        .join(Interaction, Interaction.id == ShadowAnswer.interaction_id)
        .where(
            Interaction.lob == lob,
            ShadowAnswer.version == version,
            ShadowAnswer.created_at >= since,
        )
        .order_by(ShadowAnswer.created_at, ShadowAnswer.interaction_id)
    )
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [ShadowRecord.model_validate(dict(row)) for row in rows]


async def latest(db: Database, lob: str) -> str | None:
    """Return the version that last answered a line's requests unseen; None: none ever did."""
    statement = (
        select(ShadowAnswer.version)
        .join(Interaction, Interaction.id == ShadowAnswer.interaction_id)
        .where(Interaction.lob == lob)
        .order_by(ShadowAnswer.created_at.desc())
        .limit(1)
    )
    async with db.reader() as connection:
        return (await connection.execute(statement)).scalar_one_or_none()
