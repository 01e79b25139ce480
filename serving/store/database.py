"""The one connection to SQL, the same for SQLite and PostgreSQL.

SQLite runs in WAL mode, so readers never wait for the writer, with `synchronous=FULL`, so a
committed transaction outlives a power cut; every write begins with `BEGIN IMMEDIATE`, because a
read that turns into a write later fails at once where another process writes. Writers of one
process queue here: SQLite's own queue sleeps and polls.

The drivers' errors become ours at this boundary, and nowhere else.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import orjson
from sqlalchemy import URL, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from serving.alarm import Alarm
from serving.errors import ConfigError, Conflict, InvalidRequest, StoreUnavailable
from serving.store.models import Base

BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 60
RETRY_S = 1.0
SQLITE_MINIMUM = (3, 35, 0)
"""The first with RETURNING."""
DATA_EXCEPTION = "22"
"""PostgreSQL's class of errors that come from the value; trying again would not help."""
REFUSALS = {"28", "3D"}
"""PostgreSQL's classes for a wrong user or password, and for no such database."""
SQLITE_REFUSALS = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
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
        from serving.store.migrations.upgrade import upgrade  # alembic is slow to import

        if self.is_sqlite and sqlite3.sqlite_version_info < SQLITE_MINIMUM:
            raise ConfigError(
                f"SQLite {sqlite3.sqlite_version} is too old: this needs "
                f"{'.'.join(map(str, SQLITE_MINIMUM))} or newer, or a postgresql:// URL",
                param="store.url",
            )
        with _mapped_errors(self.url):
            await asyncio.to_thread(upgrade, self.url)

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
            ConfigError: The password, the database's name or the file is wrong.
            StoreUnavailable: The database does not answer now.
        """
        try:
            await self.open()
        except StoreUnavailable as exc:
            if _is_final(exc.__cause__):
                raise ConfigError(
                    f"store.url: {exc.message}. Correct the URL, or what it names.",
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


def parse_url(url: str) -> URL:
    """Return `url` with the driver that we use for it.

    Raises:
        ConfigError: It names no database that we know how to use.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise ConfigError(f"store.url is no database URL: {exc}", param="store.url") from exc
    driver = _DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None:
        raise ConfigError(
            f"store.url begins with {parsed.drivername!r}: use sqlite:///file or postgresql://…",
            param="store.url",
        )
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ConfigError(
            "store.url names a database in memory, which processes cannot share: "
            "use sqlite:///file",
            param="store.url",
        )
    query = dict(parsed.query)
    if "sslmode" in query:  # libpq's name for what asyncpg calls ssl
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername=driver, query=query)


def connect(url: URL, **options: Any) -> AsyncEngine:
    """Return an engine with our connection settings; nothing is opened yet."""
    options |= {"json_serializer": _to_json, "json_deserializer": orjson.loads}
    if url.get_backend_name() != "sqlite":
        timeouts = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S}
        return create_async_engine(url, connect_args=timeouts, pool_pre_ping=True, **options)
    Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **options)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # leaves BEGIN to us
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("switchboard_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _to_json(value: object) -> str:
    """Return JSON that both databases take, whatever a client sent: NaN becomes null."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers over 64 bits, lone surrogates
        plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace").decode()


def _is_final(exc: BaseException | None) -> bool:
    """Whether an error is one that no waiting heals."""
    reason = getattr(exc, "orig", None) or exc
    reason = getattr(reason, "__cause__", None) or reason  # SQLAlchemy wraps asyncpg's
    if str(getattr(reason, "sqlstate", ""))[:2] in REFUSALS:
        return True
    code = getattr(reason, "sqlite_errorcode", 0) or 0
    return code & 0xFF in SQLITE_REFUSALS


@contextmanager
def _mapped_errors(url: URL) -> Iterator[None]:
    try:
        yield
    except IntegrityError as exc:
        raise Conflict(f"the store refuses this change: {exc.orig}") from exc
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
            raise InvalidRequest(f"the store cannot hold this value: {reason}") from exc
        raise StoreUnavailable(
            f"the store {url.render_as_string(hide_password=True)} does not answer: "
            f"{type(reason).__name__}: {reason}"
        ) from exc
