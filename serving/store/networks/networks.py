"""The networks from which each key was used, and which of them people are still to hear of.

Times are the database's. What a key is used from in its first days is learned; what comes later is
new until it was told.
"""

from enum import StrEnum

from sqlalchemy import func, select, update

from serving.store import audit, leases
from serving.store.database import Database
from serving.store.networks.tables import KeyNetworkRow
from serving.store.records import Record

LIMIT = 1000
"""Networks that are remembered of a key: one that is used from more has been told of often."""
PAGE = 100


class State(StrEnum):
    """Where a network stands."""

    LEARNED = "learned"
    NEW = "new"
    TOLD = "told"


class KeyNetwork(Record):
    """That a key was used from a network, first at `first_seen` in seconds since the epoch."""

    key_id: str
    network: str
    first_seen: float
    state: State


async def remember(db: Database, key_id: str, network: str, learning_s: float) -> bool:
    """Note that a key was used from a network; again changes nothing.

    Args:
        db: The store.
        key_id: The key.
        network: Such as ``192.0.2.0/24``.
        learning_s: So long after a key's first network nothing is new.

    Returns:
        Whether it is new, to be told.

    Raises:
        StoreUnavailable: The store does not answer; nothing is noted.
    """
    of_key = KeyNetworkRow.key_id == key_id
    now = leases.now(db)
    asked = select(func.count(), func.min(KeyNetworkRow.first_seen), now).where(of_key)
    async with db.session() as connection:
        count, first, now_ = (await connection.execute(asked)).one()
        at = float(now_)  # PostgreSQL's is a decimal
        if count >= LIMIT:
            return False
        learns = first is None or at - first <= learning_s
        state = State.LEARNED if learns else State.NEW
        row = {"key_id": key_id, "network": network, "first_seen": at, "state": state}
        insert = db.insert(KeyNetworkRow).values(row).on_conflict_do_nothing()
        made = await connection.execute(insert.returning(KeyNetworkRow.key_id))
        return made.first() is not None and state is State.NEW


async def untold(db: Database) -> list[KeyNetwork]:
    """Return what is new, the oldest first."""
    new = select(KeyNetworkRow).where(KeyNetworkRow.state == State.NEW)
    async with db.reader() as connection:
        rows = await connection.execute(new.order_by(KeyNetworkRow.first_seen).limit(PAGE))
        return [KeyNetwork.model_validate(dict(row)) for row in rows.mappings()]


async def told(db: Database, which: KeyNetwork, action: str) -> None:
    """Note that people heard of a network, in the audit too; again changes nothing."""
    mine = (KeyNetworkRow.key_id == which.key_id) & (KeyNetworkRow.network == which.network)
    change = update(KeyNetworkRow).where(mine, KeyNetworkRow.state == State.NEW)
    async with db.session() as connection:
        done = await connection.execute(change.values(state=State.TOLD))
        if done.rowcount:
            detail = {"network": which.network, "first_seen": which.first_seen}
            await audit.append(connection, None, action, which.key_id, detail)
