"""The one connection to SQL, the same for SQLite and PostgreSQL.

SQLite runs in WAL mode, so readers never wait for the writer, with `synchronous=FULL`, so a
committed transaction outlives a power cut; every write begins with `BEGIN IMMEDIATE`, because a
read that turns into a write later fails at once where another process writes. Writers of one
process queue here: SQLite's own queue sleeps and polls.

The drivers' errors become ours at this boundary, and nowhere else.
"""

import asyncio
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import URL
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.errors import ConfigError, Conflict, InvalidRequest, StoreUnavailable
from serving.observability.alarm import Alarm
from serving.store.connection import connect, parse_url
from serving.store.tables import Base

RETRY_S = 1.0
SQLITE_MINIMUM = (3, 35, 0)
"""The first with RETURNING."""
DATA_EXCEPTION = "22"
"""PostgreSQL's class of errors that come from the value; trying again would not help."""
REFUSALS = {"28", "3D"}
"""PostgreSQL's classes for a wrong user or password, or no TLS, and for no such database."""
NO_TLS = "rejected SSL upgrade"
"""asyncpg's words for a server without TLS; it has no class for it."""
SQLITE_REFUSALS = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}


class Database:
    """A pool of connections to the store.

    Args:
        url: `sqlite:///file` or `postgresql://user:password@host/name`.

    Raises:
        ConfigError: The URL names no database that we know how to use.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self._engine = connect(self.url)
        self._writing = self._engine.execution_options(switchboard_write=True)
        self._turn: AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if self.is_sqlite else nullcontext()
        )

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    async def open(self) -> None:
        """Create what is missing: the file and the newest tables.

        Any number of processes may do so at once.

        Raises:
            ConfigError: This Python's SQLite is too old.
            StoreUnavailable: The database does not answer.
        """
        from serving.store.migrations.newest import has_newest

        if self.is_sqlite and sqlite3.sqlite_version_info < SQLITE_MINIMUM:
            raise ConfigError(
                f"SQLite {sqlite3.sqlite_version} is too old: this needs "
                f"{'.'.join(map(str, SQLITE_MINIMUM))} or newer, or a postgresql:// URL",
                param="store.url",
            )
        with _mapped_errors(self.url):
            if await has_newest(self.url):
                return
            from serving.store.migrations.upgrade import upgrade  # alembic is slow to import

            await asyncio.to_thread(upgrade, self.url)

    async def at_newest(self) -> bool:
        """Whether its tables are there and this release's; raises StoreUnavailable."""
        from serving.store.migrations.newest import has_newest

        with _mapped_errors(self.url):
            return await has_newest(self.url)

    async def has_tables(self) -> bool:
        """Whether it holds any table; raises StoreUnavailable."""
        from serving.store.migrations.newest import has_tables

        with _mapped_errors(self.url):
            return await has_tables(self.url)

    async def open_when_up(self) -> None:
        """`open`, however long the database is down; the log says that this waits.

        Raises:
            ConfigError: This Python's SQLite is too old.
        """
        alarm = Alarm("this start waits for the store")
        while True:
            try:
                await self.open()
            except StoreUnavailable as exc:
                alarm.on(exc)
                await asyncio.sleep(RETRY_S)
            else:
                alarm.off()
                return

    async def open_at_start(self) -> None:
        """`open`, telling what somebody must mend from what passes.

        Raises:
            ConfigError: The password, the database's name, the file, or who is trusted is wrong.
            StoreUnavailable: The database does not answer now.
        """
        try:
            await self.open()
        except StoreUnavailable as exc:
            if _is_final(exc.__cause__):
                key = ", and store.encrypt if it is encrypted" if self.is_sqlite else ""
                raise ConfigError(
                    f"store.url: {exc.reason}. Correct the URL, or what it names{key}.",
                    param="store.url",
                ) from exc
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in one transaction that commits at the end.

        Raises:
            StoreUnavailable: The database does not answer; nothing was written.
            Conflict: A row that must be unique exists, or one that is needed does not.
            InvalidRequest: A value does not fit its column.
        """
        with _mapped_errors(self.url):
            async with self._turn, self._writing.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that sees one state and keeps nothing.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        with _mapped_errors(self.url):
            async with self._engine.connect() as connection:
                yield connection

    def insert(self, table: type[Base]) -> "sqlite.Insert | postgresql.Insert":
        """Return an INSERT that can say ON CONFLICT, in this database's dialect."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def close(self) -> None:
        """Close all connections; a closed database may be used again."""
        await self._engine.dispose()


def _is_final(exc: BaseException | None) -> bool:
    """Whether an error is one that no waiting heals."""
    reason = getattr(exc, "orig", None) or exc
    reason = getattr(reason, "__cause__", None) or reason  # SQLAlchemy wraps asyncpg's
    if str(getattr(reason, "sqlstate", ""))[:2] in REFUSALS:
        return True
    if isinstance(reason, ssl.SSLCertVerificationError | asyncpg.ClientConfigurationError):
        return True  # another authority or name, or none to verify by
    if isinstance(reason, ConnectionError) and NO_TLS in str(reason):
        return True
    code = getattr(reason, "sqlite_errorcode", 0) or 0
    return code & 0xFF in SQLITE_REFUSALS


@contextmanager
def _mapped_errors(url: URL) -> Iterator[None]:
    try:
        yield
    except IntegrityError as exc:
        raise Conflict(
            "the store refuses this change: it contradicts what is stored", reason=str(exc.orig)
        ) from exc
    except (
        DBAPIError,
        PoolTimeoutError,
        sqlite3.Error,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        OSError,  # refused, reset, timed out
    ) as exc:
        reason = getattr(exc, "orig", None) or exc
        if str(getattr(reason, "sqlstate", "")).startswith(DATA_EXCEPTION):
            raise InvalidRequest(
                "the store cannot hold a value of this request", reason=str(reason)
            ) from exc
        # The client learns no host, no user and no file; whoever runs the server finds them in
        # `reason`, which the log and the start show.
        raise StoreUnavailable(
            "The store does not answer. Try again.",
            reason=f"the store {url.render_as_string(hide_password=True)} does not answer: "
            f"{type(reason).__name__}: {reason}",
        ) from exc


def storable(text: str) -> str:
    """Return `text` without what SQL text cannot hold: U+0000 and lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
