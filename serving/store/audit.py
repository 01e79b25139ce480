"""The audit: who did what to which thing, in the order it happened, as a chain of hashes.

An entry's number is one more than the last one's, and its hash is the sha256 of the previous hash
and of its canonical JSON; the head row holds both of the last entry. It is locked until the
transaction ends, so that entries have one order however many write. What was changed, taken out or
moved is found by `verify`; whoever can write all of the store can make a new chain, so its head
belongs elsewhere, too: `switchboard audit export` prints it.
"""

import getpass
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.connection import to_json
from serving.store.database import Database
from serving.store.erasure.tables import AuditHead
from serving.store.records import AuditEntry, Json
from serving.store.tables import AuditRow

GENESIS = "0" * 64
"""What the first entry's hash goes back to."""
PAGE = 1000
_HEAD = 1


def operator() -> str:
    """Return who runs this process, as the machine knows them: for acts of the command line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return str(os.getuid())


class Head(NamedTuple):
    """The last entry's number and hash."""

    number: int
    hash: str


class Broken(NamedTuple):
    """The first place where the chain does not hold, and why."""

    number: int
    reason: str


async def write(db: Database, key_id: str | None, action: str, target: str, detail: Json) -> None:
    """Note an act in a transaction of its own."""
    async with db.session() as connection:
        await append(connection, key_id, action, target, detail)


async def append(
    connection: AsyncConnection, key_id: str | None, action: str, target: str, detail: Json
) -> None:
    """Note an act in the transaction that does it, so that neither is without the other.

    It comes last there: other writers of the audit wait until the transaction ends.
    """
    mine = AuditHead.id == _HEAD
    locked = select(AuditHead.number, AuditHead.hash).where(mine).with_for_update()
    number, previous = (await connection.execute(locked)).one()
    entry = {
        "id": number + 1,
        "created_at": time.time(),
        "key_id": key_id,
        "action": action,
        "target": target,
        "detail": orjson.loads(to_json(detail)),
    }
    hash_ = chained(previous, entry)
    await connection.execute(insert(AuditRow).values(**entry, hash=hash_))
    await connection.execute(update(AuditHead).where(mine).values(number=number + 1, hash=hash_))


def chained(previous: str, entry: Json) -> str:
    """Return an entry's hash.

    Args:
        previous: The hash of the entry before, hexadecimal.
        entry: Its fields without the hash.
    """
    content = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(previous.encode() + content).hexdigest()


def first_broken(
    entries: Iterable[AuditEntry], after: Head | None = None
) -> tuple[Head, Broken | None]:
    """Follow the chain.

    Args:
        entries: In the order of their numbers.
        after: Where it goes on from; None is the beginning.

    Returns:
        How far it holds, and the first entry where it does not.
    """
    number, previous = after or (0, GENESIS)
    for entry in entries:
        if entry.id != number + 1:
            missing = f"entry {number + 1} is missing: {entry.id} follows {number}"
            return Head(number, previous), Broken(number + 1, missing)
        if entry.hash != chained(previous, entry.model_dump(exclude={"hash"})):
            why = f"entry {entry.id} ({entry.action} {entry.target}) or the one before was changed"
            return Head(number, previous), Broken(entry.id, why)
        number, previous = entry.id, entry.hash
    return Head(number, previous), None


async def verify(db: Database) -> tuple[Head, Broken | None]:
    """Follow the whole chain to its head; returns as `first_broken`."""
    end = await head(db)  # first: what comes meanwhile is no fault
    at = Head(0, GENESIS)
    async for page in pages(db, end.number):
        at, broken = first_broken(page, at)
        if broken is not None:
            return at, broken
    if at != end:
        gone = f"entry {at.number + 1} and what follows is missing: the head is {end.number}"
        return at, Broken(at.number + 1, gone)
    return at, None


async def head(db: Database) -> Head:
    """Return the chain's head."""
    async with db.reader() as connection:
        return Head(*(await connection.execute(select(AuditHead.number, AuditHead.hash))).one())


async def pages(db: Database, end: int) -> AsyncIterator[list[AuditEntry]]:
    """Yield the entries up to a number, oldest first, a page in memory at a time."""
    after = 0
    while True:
        statement = select(AuditRow).where(AuditRow.id > after, AuditRow.id <= end)
        async with db.reader() as connection:
            found = await connection.execute(statement.order_by(AuditRow.id).limit(PAGE))
            rows = found.mappings().all()
        page = [AuditEntry.model_validate(dict(row)) for row in rows]
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1].id


async def about(db: Database, target: str, action: str, n: int = 100) -> list[AuditEntry]:
    """Return the last `n` acts of one kind on one thing, newest first."""
    mine = (AuditRow.target == target) & (AuditRow.action == action)
    statement = select(AuditRow).where(mine).order_by(AuditRow.id.desc()).limit(n)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [AuditEntry.model_validate(dict(row)) for row in rows]


async def of(db: Database, target: str) -> list[AuditEntry]:
    """Return every act on one thing, oldest first."""
    statement = select(AuditRow).where(AuditRow.target == target).order_by(AuditRow.id)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [AuditEntry.model_validate(dict(row)) for row in rows]


async def tail(db: Database, n: int = 100) -> list[AuditEntry]:
    """Return the last `n` acts, newest first."""
    statement = select(AuditRow).order_by(AuditRow.id.desc()).limit(n)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [AuditEntry.model_validate(dict(row)) for row in rows]
