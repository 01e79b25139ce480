"""Originals of redacted interactions: sealed, read with a reason, erased by their key.

Envelope encryption: a conversation has a data key of its own, which seals each field (AES-256-GCM,
bound to conversation, interaction and field) and is itself wrapped by the deployment's newest key.
Taking the wrapped key away erases the conversation wherever its sealed fields have been copied to;
copies of the wrapped key itself, as in a backup of the store, must go as well. Rotation wraps the
data keys anew and leaves the fields as they are.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.encryption.keyring import KeyMissing, Keyring
from serving.encryption.sealing import NONCE_BYTES, Sealer
from serving.errors import NotFound
from serving.store import audit
from serving.store.database import Database
from serving.store.privacy.tables import VaultKey, VaultRow
from serving.store.records import Json
from serving.store.reviews import removal
from serving.store.tables import Interaction

PURPOSE = "vault"
PAGE = 500
"""Data keys that are wrapped anew in one transaction."""


class Originals(NamedTuple):
    """What an interaction's fields were before redaction, as JSON."""

    interaction_id: str
    scope: str
    fields: Mapping[str, bytes]


async def keep(
    db: Database, connection: AsyncConnection, keyring: Keyring, kept: Sequence[Originals]
) -> None:
    """Store originals in the transaction that stores their interactions; again changes nothing.

    Args:
        db: The store, for its dialect.
        connection: In that transaction.
        keyring: The deployment's keys.
        kept: One an interaction.

    Raises:
        KeyMissing: A conversation's data key was wrapped by a key that is not there.
    """
    rows = []
    for scope in sorted({one.scope for one in kept}):  # one order for all: no deadlocks
        cipher = AESGCM(await _data_key(db, connection, keyring, scope))
        for one in kept:
            if one.scope == scope:
                rows += [
                    {
                        "interaction_id": one.interaction_id,
                        "field": field,
                        "scope": scope,
                        "sealed": _sealed(cipher, plain, _aad(scope, one.interaction_id, field)),
                    }
                    for field, plain in one.fields.items()
                ]
    if rows:
        await connection.execute(db.insert(VaultRow).on_conflict_do_nothing(), rows)


async def read(
    db: Database, keyring: Keyring, interaction_id: str, *, who: str, reason: str
) -> Json:
    """Return an interaction's original fields; that they were read is in the audit first.

    Args:
        db: The store.
        keyring: The deployment's keys.
        interaction_id: The interaction.
        who: Whoever reads.
        reason: Why.

    Raises:
        NotFound: Nothing is kept of it, or it is erased.
        KeyMissing: The key that wrapped its data key is not there, or a field was changed.
    """
    mine = select(VaultRow).where(VaultRow.interaction_id == interaction_id)
    async with db.session() as connection:
        rows = (await connection.execute(mine)).mappings().all()
        wrapped = None
        if rows:
            of = select(VaultKey.wrapped).where(VaultKey.scope == rows[0]["scope"])
            wrapped = (await connection.execute(of)).scalar_one_or_none()
        if wrapped is None:
            raise NotFound(f"There are no originals of {interaction_id}.", param="id")
        detail = {"who": who, "reason": reason, "fields": [row["field"] for row in rows]}
        await audit.append(connection, None, "read_original", interaction_id, detail)
    scope = rows[0]["scope"]
    cipher = AESGCM(Sealer(keyring, PURPOSE).open(wrapped, scope.encode()))
    return {
        row["field"]: orjson.loads(
            _opened(cipher, row["sealed"], _aad(scope, interaction_id, row["field"]))
        )
        for row in rows
    }


async def erase(db: Database, scope: str, *, who: str, reason: str) -> None:
    """Erase a conversation's originals: its data key, what that has sealed, and its review tasks.

    A task that is open goes, too: whoever waits for its decision is told that there is none.

    Args:
        db: The store.
        scope: The line and the conversation, `care/conversation-1`; of an interaction outside
            conversations its own id stands for that.
        who: Whoever erases.
        reason: Why.

    Raises:
        NotFound: Neither originals nor tasks of it are kept.
    """
    lob, _, talk = scope.partition("/")
    turns = select(Interaction.id).where(
        Interaction.lob == lob, or_(Interaction.conversation_id == talk, Interaction.id == talk)
    )
    async with db.session() as connection:
        if db.is_sqlite:  # or the key stays in the file's free pages
            await connection.execute(text("PRAGMA secure_delete = ON"))
        tasks = await removal.remove(connection, (await connection.execute(turns)).scalars().all())
        gone = await connection.execute(delete(VaultKey).where(VaultKey.scope == scope))
        if not gone.rowcount and not tasks:
            raise NotFound(f"There are no originals of {scope}.", param="scope")
        await connection.execute(delete(VaultRow).where(VaultRow.scope == scope))
        said = {"who": who, "reason": reason, "reviews": tasks}
        await audit.append(connection, None, "erase_originals", scope, said)


async def rotate(db: Database, keyring: Keyring) -> int:
    """Wrap every data key by the newest key; may be cut short and repeated.

    Returns:
        How many were wrapped anew.

    Raises:
        KeyMissing: A key that wrapped one is not there; those before it are done.
    """
    sealer, done = Sealer(keyring, PURPOSE), 0
    old = (
        select(VaultKey.scope, VaultKey.key_id, VaultKey.wrapped)
        .where(VaultKey.key_id != keyring.newest)
        .order_by(VaultKey.scope)
        .limit(PAGE)
    )
    while True:
        async with db.session() as connection:
            rows = (await connection.execute(old)).all()
            for scope, key_id, wrapped in rows:
                data_key = sealer.open(wrapped, scope.encode())
                await connection.execute(
                    update(VaultKey)
                    .where(VaultKey.scope == scope, VaultKey.key_id == key_id)
                    .values(key_id=keyring.newest, wrapped=sealer.seal(data_key, scope.encode()))
                )
        done += len(rows)
        if len(rows) < PAGE:
            return done


async def _data_key(
    db: Database, connection: AsyncConnection, keyring: Keyring, scope: str
) -> bytes:
    """Return a conversation's data key, made now if it has none; two replicas agree on one."""
    sealer = Sealer(keyring, PURPOSE)
    known = select(VaultKey.wrapped).where(VaultKey.scope == scope)
    wrapped = (await connection.execute(known)).scalar_one_or_none()
    if wrapped is None:
        fresh = {
            "scope": scope,
            "key_id": keyring.newest,
            "wrapped": sealer.seal(AESGCM.generate_key(256), scope.encode()),
            "created_at": time.time(),
        }
        await connection.execute(db.insert(VaultKey).values(fresh).on_conflict_do_nothing())
        wrapped = (await connection.execute(known)).scalar_one()
    return sealer.open(wrapped, scope.encode())


def _aad(scope: str, interaction_id: str, field: str) -> bytes:
    return orjson.dumps([scope, interaction_id, field])


def _sealed(cipher: AESGCM, plain: bytes, aad: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, aad)


def _opened(cipher: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise KeyMissing(
            "An original does not open.",
            reason=f"what is stored at {aad.decode()} was changed, or is another's",
        ) from None
