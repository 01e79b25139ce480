"""The audit: who did what to which thing, in the order it happened."""

import time

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.database import Database
from serving.store.records import AuditEntry, Json
from serving.store.tables import AuditRow


async def write(db: Database, key_id: str | None, action: str, target: str, detail: Json) -> None:
    """Note an act in a transaction of its own."""
    async with db.session() as connection:
        await append(connection, key_id, action, target, detail)


async def append(
    connection: AsyncConnection, key_id: str | None, action: str, target: str, detail: Json
) -> None:
    """Note an act in the transaction that does it, so that neither is without the other."""
    await connection.execute(
        insert(AuditRow).values(
            created_at=time.time(), key_id=key_id, action=action, target=target, detail=detail
        )
    )


async def about(db: Database, target: str, action: str, n: int = 100) -> list[AuditEntry]:
    """Return the last `n` acts of one kind on one thing, newest first."""
    mine = (AuditRow.target == target) & (AuditRow.action == action)
    statement = select(AuditRow).where(mine).order_by(AuditRow.id.desc()).limit(n)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [AuditEntry.model_validate(dict(row)) for row in rows]


async def tail(db: Database, n: int = 100) -> list[AuditEntry]:
    """Return the last `n` acts, newest first."""
    statement = select(AuditRow).order_by(AuditRow.id.desc()).limit(n)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [AuditEntry.model_validate(dict(row)) for row in rows]
