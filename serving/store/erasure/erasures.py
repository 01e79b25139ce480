"""Erasures: their rows, and what of the store they take away.

An erasure goes through `STATES` in order; each step may be repeated, so whoever finds one that is
not done goes on with it. Until its last steps its row says in the clear what it is of; then only
the keyed hash stays.
"""

import time
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store import audit
from serving.store.database import Database
from serving.store.erasure import tombstones
from serving.store.erasure.tables import ErasedItem, ErasureRow, JournalRow
from serving.store.records import Json, Record

STATES = ("collecting", "deleting", "files", "journals", "compacting", "done")


class Target(Record):
    """What is to be erased: a conversation, or all conversations that a person takes part in.

    `lob` limits it to one line of business; `aliases` are the numbers that stand for the person in
    redacted rows.
    """

    kind: str
    name: str
    lob: str | None = None
    aliases: tuple[str, ...] = ()


class Erasure(Record):
    """How far an erasure has come; `counts` is what it has taken away."""

    id: int
    state: str
    target: Json
    target_hash: str
    reason: str
    key_id: str | None
    requested_at: float
    done_at: float | None
    counts: Json


async def begin(db: Database, target: Target, *, reason: str, key_id: str | None) -> Erasure:
    """Begin an erasure, or return the one that goes on or is done already.

    From here on nothing of it enters the store. A conversation stays erased, so again changes
    nothing; of a person only what was made before, so again begins anew.
    """
    async with db.session() as connection:
        hash_ = tombstones.digest(
            await tombstones.secret(db, connection), target.kind, target.lob, target.name
        )
        mine = select(ErasureRow).where(ErasureRow.target_hash == hash_)
        if target.kind == "person":
            mine = mine.where(ErasureRow.state != STATES[-1])
        newest = mine.order_by(ErasureRow.id.desc()).limit(1)
        if (row := (await connection.execute(newest)).mappings().one_or_none()) is not None:
            return Erasure.model_validate(dict(row))
        now = time.time()
        await tombstones.add(
            *(db, connection, [(target.kind, target.lob, target.name)]),
            until=now if target.kind == "person" else None,
        )
        values = {
            "state": STATES[0],
            "target": target.model_dump(mode="json"),
            "target_hash": hash_,
            "reason": reason,
            "key_id": key_id,
            "requested_at": now,
            "done_at": None,
            "counts": {},
        }
        new = insert(ErasureRow).values(values).returning(ErasureRow.id)
        id_ = (await connection.execute(new)).scalar_one()
        await audit.append(connection, key_id, "erase", hash_, {"reason": reason, "erasure": id_})
    return Erasure(id=id_, **values)


async def get(db: Database, id_: int) -> Erasure:
    """Return an erasure that there is."""
    async with db.reader() as connection:
        rows = await connection.execute(select(ErasureRow).where(ErasureRow.id == id_))
        return Erasure.model_validate(dict(rows.mappings().one()))


async def unfinished(db: Database) -> list[Erasure]:
    """Return the erasures that are not done, oldest first."""
    statement = select(ErasureRow).where(ErasureRow.state != STATES[-1]).order_by(ErasureRow.id)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [Erasure.model_validate(dict(row)) for row in rows]


async def newest(db: Database) -> int:
    """Return the newest erasure's id, 0 without any."""
    async with db.reader() as connection:
        return await newest_in(connection)


async def newest_in(connection: AsyncConnection) -> int:
    """Return the newest erasure's id as a transaction sees it."""
    return (await connection.execute(select(func.max(ErasureRow.id)))).scalar_one() or 0


async def move(db: Database, id_: int, state: str, counts: Json | None = None) -> None:
    """Note a step as done, with what it took away; with `compacting` the names are forgotten.

    What was counted before, by a call that was cut short or had to wait, is added to.
    """
    async with db.session() as connection:
        await tombstones.secure(db, connection)
        mine = ErasureRow.id == id_
        row = (await connection.execute(select(ErasureRow).where(mine))).mappings().one()
        so_far, new = row["counts"], counts or {}
        added = {name: so_far.get(name, 0) + number for name, number in new.items()}
        values: dict[str, Any] = {"state": state, "counts": so_far | added}
        if state in STATES[-2:]:
            values["target"] = {}
            await connection.execute(delete(ErasedItem).where(ErasedItem.erasure_id == id_))
        if state == STATES[-1] != row["state"]:
            values["done_at"] = time.time()
            said = {"erasure": id_, "counts": values["counts"]}
            await audit.append(connection, row["key_id"], "erased", row["target_hash"], said)
        await connection.execute(update(ErasureRow).where(mine).values(values))


async def heard(db: Database, journal: str, clean_through: int) -> None:
    """Note that a replica's journal lives, and through which erasure it is clean."""
    row = {"name": journal, "seen_at": time.time(), "clean_through": clean_through}
    statement = db.insert(JournalRow).values(row)
    async with db.session() as connection:
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[JournalRow.name], set_=row)
        )


async def left(db: Database, journal: str) -> None:
    """Note that a journal is closed; what it leaves is its adopter's."""
    async with db.session() as connection:
        await connection.execute(delete(JournalRow).where(JournalRow.name == journal))


async def behind(db: Database, id_: int, since: float) -> list[str]:
    """Return the journals heard of since then that an erasure still waits for."""
    waiting = (JournalRow.clean_through < id_) & (JournalRow.seen_at >= since)
    statement = select(JournalRow.name).where(waiting).order_by(JournalRow.name)
    async with db.reader() as connection:
        return list((await connection.execute(statement)).scalars())
