"""Sessions of the console: begun by a key, found by a token, ended by hand or by time.

The browser holds a token of 32 random bytes, the store its SHA-256, so every replica knows a
session and no copy of the store opens one. Times are the database's.
"""

import hashlib
import secrets

from sqlalchemy import delete, select

from serving.store import audit, leases
from serving.store.database import Database
from serving.store.sessions.tables import SessionRow


async def begin(db: Database, key_id: str, lasts_s: float) -> str:
    """Begin a session, and note it in the audit; what is over is deleted.

    Args:
        db: The store.
        key_id: Whose it is; "" where keys are off.
        lasts_s: How long it lasts, in seconds.

    Returns:
        Its token, which is kept nowhere.

    Raises:
        StoreUnavailable: The store does not answer.
    """
    token = secrets.token_urlsafe(32)
    async with db.session() as connection:
        now = float((await connection.execute(select(leases.now(db)))).scalar_one())
        await connection.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
        row = {
            "digest": _digest(token),
            "key_id": key_id,
            "created_at": now,
            "expires_at": now + lasts_s,
        }
        await connection.execute(db.insert(SessionRow).values(row))
        await audit.append(connection, key_id or None, "sign_in", "console", {})
    return token


async def key_of(db: Database, token: str) -> str | None:
    """Return the id of the key whose session a token is; None: it is none, or over.

    Raises:
        StoreUnavailable: The store does not answer.
    """
    mine = (SessionRow.digest == _digest(token)) & (SessionRow.expires_at > leases.now(db))
    async with db.reader() as connection:
        return (await connection.execute(select(SessionRow.key_id).where(mine))).scalar()


async def end(db: Database, token: str) -> None:
    """End a session; again changes nothing."""
    async with db.session() as connection:
        await connection.execute(delete(SessionRow).where(SessionRow.digest == _digest(token)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
