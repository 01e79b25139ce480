"""What may not enter the store again, known by keyed hashes (HMAC-SHA256) alone.

An interaction is refused by its own id, by its conversation, or by the person that it names and the
time it was made. Check and insert are one transaction: in PostgreSQL a lock that inserts share and
tombstones take alone orders the two, in SQLite there is one writer anyway.
"""

import hmac
import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.database import Database
from serving.store.erasure.tables import HashKey, Tombstone
from serving.store.reviews import removal
from serving.store.tables import Interaction

PERSON_FIELDS = ("user", "safety_identifier")
LOCK = 0x5B_0A_2E
SECRET_BYTES = 32
_ONLY = 1


class Marks(NamedTuple):
    """What an interaction is known by; `persons` are the names in its request, as they came."""

    id: str
    lob: str | None
    conversation_id: str | None
    persons: tuple[str, ...]
    created_at: float


def persons(request: object) -> tuple[str, ...]:
    """Return whom a request names."""
    if not isinstance(request, dict):
        return ()
    named = (request.get(field) for field in PERSON_FIELDS)
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def marks_of(payload: bytes) -> Marks | None:
    """Return what a journalled interaction is known by; None if it cannot be read."""
    try:
        raw = orjson.loads(payload)
        request = orjson.loads(raw["request"])
        return Marks(
            *(str(raw["id"]), raw["lob"], raw["conversation_id"]),
            *(persons(request), float(raw["created_at"])),
        )
    except (ValueError, KeyError, TypeError):
        return None


def digest(secret: bytes, kind: str, lob: str | None, name: str) -> str:
    """Return the keyed hash of a thing's name; of all lines of business where `lob` is None."""
    return hmac.digest(secret, orjson.dumps([kind, lob, name]), "sha256").hex()


async def secret(db: Database, connection: AsyncConnection) -> bytes:
    """Return the key of the hashes, made now if there is none; writers agree on one."""
    known = select(HashKey.secret).where(HashKey.id == _ONLY)
    if (found := (await connection.execute(known)).scalar_one_or_none()) is not None:
        return found
    fresh = {"id": _ONLY, "secret": secrets.token_bytes(SECRET_BYTES)}
    await connection.execute(db.insert(HashKey).values(fresh).on_conflict_do_nothing())
    return (await connection.execute(known)).scalar_one()


async def add(
    db: Database,
    connection: AsyncConnection,
    names: Collection[tuple[str, str | None, str]],
    until: float | None = None,
) -> None:
    """Refuse things from this transaction's end on; an earlier tombstone without end stays.

    Args:
        db: The store.
        connection: A writing transaction.
        names: Kind (interaction, conversation, person), line of business or None, and name.
        until: The latest `created_at` to refuse; None refuses for ever.
    """
    if not db.is_sqlite:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    key = await secret(db, connection)
    rows = [{"digest": digest(key, *name), "until": until} for name in sorted(set(names), key=str)]
    if not rows:
        return
    statement = db.insert(Tombstone)
    later = statement.excluded.until
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[Tombstone.digest],
            set_={"until": later},
            where=Tombstone.until.is_not(None) & (later.is_(None) | (later > Tombstone.until)),
        ),
        rows,
    )


async def share(db: Database, connection: AsyncConnection) -> None:
    """Have no erasure begin until this transaction ends."""
    if not db.is_sqlite:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({LOCK})"))


async def refused(db: Database, connection: AsyncConnection, found: Iterable[Marks]) -> set[str]:
    """Return the ids of the interactions that may not be stored, in the storing transaction.

    Where a person's interaction is refused, its conversation is from then on: its other turns
    quote it. Tasks of the review queue that a refused interaction became are deleted.
    """
    await share(db, connection)
    if (await connection.execute(select(Tombstone.digest).limit(1))).first() is None:
        return set()
    key = await secret(db, connection)
    found = list(found)
    known = {one.id: _digests(key, one) for one in found}
    every = sorted({d for of in known.values() for d, _ in of})
    rows = await connection.execute(
        select(Tombstone.digest, Tombstone.until).where(Tombstone.digest.in_(every))
    )
    buried: Mapping[str, Any] = {row.digest: row.until for row in rows}
    gone: set[str] = set()
    talks: set[tuple[str | None, str]] = set()
    for one in found:
        for known_by, is_person in known[one.id]:
            until = buried.get(known_by, 0.0)
            if until is None or one.created_at <= until:
                gone.add(one.id)
                if is_person and one.conversation_id:
                    talks.add((one.lob, one.conversation_id))
    if talks:
        await _bury(db, connection, key, talks)
        gone |= {one.id for one in found if (one.lob, one.conversation_id) in talks}
    if gone:
        await secure(db, connection)
        await removal.remove(connection, gone)
    return gone


async def secure(db: Database, connection: AsyncConnection) -> None:
    """Have SQLite overwrite what this transaction deletes."""
    if db.is_sqlite:  # or what is deleted stays in the file's free pages
        await connection.execute(text("PRAGMA secure_delete = ON"))


async def _bury(
    db: Database, connection: AsyncConnection, key: bytes, talks: set[tuple[str | None, str]]
) -> None:
    """Refuse conversations, and take out what is stored of them.

    No lock is taken: what another transaction stores of them at this moment stays.
    """
    rows = [{"digest": digest(key, "conversation", *talk), "until": None} for talk in talks]
    await connection.execute(db.insert(Tombstone).on_conflict_do_nothing(), rows)
    for lob, conversation in talks:
        line = Interaction.lob.is_(None) if lob is None else Interaction.lob == lob
        mine = line & (Interaction.conversation_id == conversation)
        known = (await connection.execute(select(Interaction.id).where(mine))).scalars().all()
        await removal.remove(connection, known)
        await connection.execute(delete(Interaction).where(mine))


def _digests(key: bytes, one: Marks) -> list[tuple[str, bool]]:
    """The hashes that an interaction may be refused by, and whether each is of a person."""
    lobs = dict.fromkeys((one.lob, None))
    found = [(digest(key, "interaction", None, one.id), False)]
    if one.conversation_id:
        found += [(digest(key, "conversation", lob, one.conversation_id), False) for lob in lobs]
    return found + [(digest(key, "person", lob, p), True) for p in one.persons for lob in lobs]
