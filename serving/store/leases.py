"""Leases: who may work on a thing until when, so that two machines never do it both.

A lease is taken by one statement that compares and sets, and it is the database's clock that says
when one has expired, so machines whose clocks differ agree. Its term grows with each change of
hands: a write that names its term (`cycles.save`) is refused once another has taken over.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from serving.store.database import Database
from serving.store.records import Record
from serving.store.tables import LeaseRow


class Lease(Record):
    """Who may work on a thing until when, by the database's clock."""

    name: str
    owner: str
    term: int
    heartbeat_at: float
    expires_at: float


async def acquire(db: Database, name: str, owner: str, lease_s: float) -> int | None:
    """Take a lease that nobody holds, or whose holder has been silent for too long.

    Args:
        db: The store.
        name: What is to be worked on.
        owner: Who takes it; shown to people.
        lease_s: It ends so many seconds from now, unless it is renewed.

    Returns:
        The term, higher than all before; None if another, or this owner already, holds it.
    """
    at = now(db)
    fresh = {"owner": owner, "heartbeat_at": at, "expires_at": at + lease_s}
    statement = (
        db.insert(LeaseRow)
        .values(name=name, term=1, **fresh)
        .on_conflict_do_update(
            index_elements=[LeaseRow.name],
            set_={**fresh, "term": LeaseRow.term + 1},
            where=LeaseRow.expires_at <= at,
        )
        .returning(LeaseRow.term)
    )
    async with db.session() as connection:
        return (await connection.execute(statement)).scalar_one_or_none()


async def renew(db: Database, name: str, term: int, lease_s: float) -> bool:
    """Hold a lease for longer, and say whether it was still held."""
    at = now(db)
    statement = (
        update(LeaseRow)
        .where(_held(name, term), LeaseRow.expires_at > at)
        .values(heartbeat_at=at, expires_at=at + lease_s)
        .returning(LeaseRow.term)
    )
    async with db.session() as connection:
        return (await connection.execute(statement)).first() is not None


async def release(db: Database, name: str, term: int) -> None:
    """Give a lease back at once; the row stays, so that the next term is higher."""
    statement = update(LeaseRow).where(_held(name, term)).values(expires_at=0.0)
    async with db.session() as connection:
        await connection.execute(statement)


async def holders(db: Database) -> dict[str, Lease]:
    """Return the leases that are held now, by name."""
    statement = select(LeaseRow).where(LeaseRow.expires_at > now(db))
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return {row["name"]: Lease.model_validate(dict(row)) for row in rows}


def _held(name: str, term: int) -> ColumnElement[bool]:
    return (LeaseRow.name == name) & (LeaseRow.term == term)


def now(db: Database) -> ColumnElement[Any]:
    """Seconds since the epoch by the database's clock, also within a transaction."""
    if db.is_sqlite:
        return (func.julianday("now") - 2440587.5) * 86400.0
    return func.extract("epoch", func.clock_timestamp())
