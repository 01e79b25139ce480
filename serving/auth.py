"""API keys: what they allow, how they are kept, and how they are found without I/O.

A key is 32 random bytes, so only its SHA-256 is kept. A slow hash such as bcrypt protects what
people choose, which can be guessed; 256 random bits cannot, and the hash is computed on every
request.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from enum import StrEnum

from pydantic import ValidationError
from sqlalchemy import insert, select, update

from serving.errors import InvalidRequest, NotFound, Unavailable
from serving.observability.alarm import Alarm
from serving.store import audit, leases
from serving.store.database import Database
from serving.store.records import Record
from serving.store.tables import ApiKeyRow

ALL = "*"
BASE = "@base"
"""Among a key's lines of business: the base model by its own name. No line can be called so."""
PREFIX = "sb-"
SHOWN_CHARACTERS = 8
REFUSED_S = 60.0
"""The audit gets at most one entry of refused requests in so long, over all replicas."""
REFUSED = "@refused"  # the lease of that entry; no line of business can be called so
PAUSE_S = 0.25
"""Between two refreshes that unknown keys ask for."""

_FORM = re.compile(r"sb-[A-Za-z0-9_-]{43}")


class Role(StrEnum):
    """What a key may be used for."""

    SERVICE = "service"
    AGENT = "agent"
    REVIEWER = "reviewer"
    TRAINER = "trainer"
    ADMIN = "admin"


class ApiKey(Record):
    """A key without its secret; `lobs` is ("*",) where it covers every line and the base."""

    id: str
    name: str
    hash: str
    prefix: str
    roles: tuple[Role, ...]
    lobs: tuple[str, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    @classmethod
    def anonymous(cls) -> "ApiKey":
        """Return what stands for everybody where keys are off: no id, and every right."""
        return cls(
            id="",
            name="anonymous",
            hash="",
            prefix="",
            roles=(Role.ADMIN,),
            lobs=(ALL,),
            created_at=0.0,
        )

    def allows(self, role: Role | str) -> bool:
        """Whether the key has this role; an admin has all."""
        return role in self.roles or Role.ADMIN in self.roles

    def allows_lob(self, lob: str) -> bool:
        """Whether the key covers this line of business."""
        return ALL in self.lobs or lob in self.lobs

    @property
    def allows_base(self) -> bool:
        """Whether the key may ask the base model by its own name, beside any line of business."""
        return ALL in self.lobs or BASE in self.lobs

    def valid(self, now: float) -> bool:
        """Whether the key is neither revoked nor expired at `now`, in seconds since the epoch."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def hash_key(plaintext: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).hexdigest()


async def create(
    db: Database,
    *,
    name: str,
    roles: Collection[Role | str],
    lobs: Collection[str],
    expires_at: float | None = None,
) -> tuple[str, ApiKey]:
    """Make a key.

    Args:
        db: The store.
        name: Who or what it is for.
        roles: What it may be used for; at least one.
        lobs: The lines of business that it covers; "*" is all of them and the base, "@base" the
            base model by its own name.
        expires_at: When it ends, in seconds since the epoch.

    Returns:
        The key itself, which is kept nowhere, and its record.

    Raises:
        InvalidRequest: There is no such role, or none is given, or no line of business.
    """
    plaintext = PREFIX + secrets.token_urlsafe(32)
    try:
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            hash=hash_key(plaintext),
            prefix=plaintext[:SHOWN_CHARACTERS],
            roles=tuple(dict.fromkeys(Role(role) for role in roles)),
            lobs=tuple(dict.fromkeys(lobs)),
            created_at=time.time(),
            expires_at=expires_at,
        )
    except (ValidationError, ValueError) as exc:
        known = ", ".join(Role)
        raise InvalidRequest(f"{exc}: the roles are {known}", param="roles") from exc
    if not key.roles or not key.lobs:
        missing = "lobs" if key.roles else "roles"
        raise InvalidRequest(f"a key without {missing} would allow nothing", param=missing)
    async with db.session() as connection:
        await connection.execute(insert(ApiKeyRow).values(key.model_dump(mode="json")))
        detail = {"name": name, "roles": list(key.roles), "lobs": list(key.lobs)}
        await audit.append(connection, None, "create_key", key.id, detail)
    return plaintext, key


async def list_keys(db: Database) -> list[ApiKey]:
    """Return all keys, also the revoked and expired ones, oldest first."""
    statement = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [ApiKey.model_validate(dict(row)) for row in rows]


async def revoke(db: Database, id: str) -> ApiKey:  # noqa: A002
    """Revoke a key for good; again changes nothing.

    Raises:
        NotFound: There is no such key.
    """
    mine = ApiKeyRow.id == id
    change = update(ApiKeyRow).where(mine, ApiKeyRow.revoked_at.is_(None))
    async with db.session() as connection:
        changed = await connection.execute(change.values(revoked_at=time.time()))
        row = (await connection.execute(select(ApiKeyRow).where(mine))).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no key {id!r}")
        if changed.rowcount:
            await audit.append(connection, None, "revoke_key", id, {"name": row["name"]})
    return ApiKey.model_validate(dict(row))


async def load_all(db: Database) -> dict[str, ApiKey]:
    """Return the keys that are in force, by hash."""
    return {key.hash: key for key in await list_keys(db) if key.valid(time.time())}


class KeyRing:
    """The keys in force, in memory.

    A look-up is a hash and a dict. The ring is refreshed in the background; while the store is
    down the last one stays in force. A key that is not in it, such as one made a moment ago, waits
    for the next refresh, which all such requests share: guessing keys costs the store nothing.

    Args:
        db: The store, open.
        refresh_s: How long a revocation may take to be noticed.
    """

    def __init__(self, db: Database, refresh_s: float = 2.0) -> None:
        self._db = db
        self._refresh_s = refresh_s
        self._keys: dict[str, ApiKey] = {}
        self._background: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._next_at = 0.0
        self._refused: Counter[str] = Counter()
        self._refused_since = 0.0
        self.alarm = Alarm("the store does not answer, so the API keys stay as they were")

    async def start(self) -> None:
        """Read the keys, and keep them fresh from now on; raises StoreUnavailable."""
        await self.refresh()
        self._background = asyncio.create_task(self._keep_fresh())

    async def stop(self) -> None:
        """Stop refreshing, and note what was refused if another has not within a minute."""
        with suppress(Unavailable):
            await self.note_refused()
        for task in (self._background, self._next):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    def refuse(self, why: str) -> None:
        """Count a request without a key in force, for the audit: nothing of what it sent is kept.

        Args:
            why: `missing` or `unknown`.
        """
        if not self._refused:
            self._refused_since = time.time()
        self._refused[why] += 1

    async def note_refused(self) -> None:
        """Write what was refused into the audit, unless an entry was written within a minute.

        Raises:
            StoreUnavailable: The store does not answer; it is counted on.
        """
        if not self._refused:
            return
        if await leases.acquire(self._db, REFUSED, "audit", REFUSED_S) is None:
            return
        counted = Counter(self._refused)
        detail = {**counted, "since": self._refused_since, "until": time.time()}
        await audit.write(self._db, None, "refuse_keys", "api", detail)
        self._refused -= counted  # what came meanwhile stays for the next entry
        self._refused_since = time.time()

    async def refresh(self) -> None:
        """Read the keys now."""
        try:
            self._keys = await load_all(self._db)
        except Unavailable as exc:
            self.alarm.on(exc)
            raise
        self.alarm.off()

    def lookup(self, plaintext: str) -> ApiKey | None:
        """Return the key in force, or None; no I/O."""
        key = self._keys.get(hash_key(plaintext))
        return key if key is not None and key.valid(time.time()) else None

    def of_id(self, id_: str) -> ApiKey | None:
        """Return the key in force that has this id, or None; no I/O."""
        found = next((key for key in self._keys.values() if key.id == id_), None)
        return found if found is not None and found.valid(time.time()) else None

    async def find(self, plaintext: str) -> ApiKey | None:
        """Return the key in force, or None; waits for the next refresh if the ring has it not.

        Raises:
            StoreUnavailable: The ring has it not, and the store is down.
        """
        if (key := self.lookup(plaintext)) is not None:
            return key
        if not _FORM.fullmatch(plaintext):
            return None
        if self._next is None:
            self._next = asyncio.create_task(self._refresh_soon())
            self._next.add_done_callback(_seen)
        await asyncio.shield(self._next)
        return self.lookup(plaintext)

    async def _refresh_soon(self) -> None:
        try:
            await asyncio.sleep(self._next_at - time.monotonic())
        finally:
            self._next = None  # a key made from here on may miss this refresh
        self._next_at = time.monotonic() + PAUSE_S
        await self.refresh()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            with suppress(Unavailable):
                await self.refresh()
                await self.note_refused()


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of a failure for which no request waits any more."""
    if not task.cancelled():
        task.exception()
