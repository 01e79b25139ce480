"""How a database URL becomes an engine with our settings, for SQLite and PostgreSQL."""

import json
import ssl
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import URL, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from serving.config import secrets
from serving.errors import ConfigError
from serving.store.drivers import files, sqlcipher

BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 60

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}


def parse_url(url: str) -> URL:
    """Return `url` with the secrets that it names and the driver that we use for it.

    Raises:
        ConfigError: It names no database that we know how to use.
    """
    try:
        parsed = make_url(secrets.resolve_url(url, "store.url"))
    except (ArgumentError, ValueError) as exc:  # which repeat the URL, and its password
        raise ConfigError(
            "store.url is no database URL: use sqlite:///file or "
            "postgresql://user:${PASSWORD}@host/database",
            param="store.url",
        ) from exc
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
    """Return an engine with our connection settings; nothing is opened yet.

    Raises:
        ConfigError: An encrypted file's keys or its driver are not there.
    """
    options |= {"json_serializer": to_json, "json_deserializer": orjson.loads}
    options["hide_parameters"] = True  # an error's text goes into the log, where no texts belong
    if url.get_backend_name() != "sqlite":
        args: dict[str, Any] = {
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": COMMAND_TIMEOUT_S,
        }
        if "sslrootcert" in url.query:
            args["ssl"] = _verified(url)
            url = url.difference_update_query(["ssl", "sslrootcert"])
        return create_async_engine(url, connect_args=args, pool_pre_ping=True, **options)
    Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    if (ring := files.keys_of(url)) is not None:
        options["module"] = sqlcipher.Driver(ring)
        url = url.difference_update_query([files.ENCRYPTION])
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


def _verified(url: URL) -> ssl.SSLContext:
    """TLS by the URL's certificate authority, which SQLAlchemy would not hand to asyncpg."""
    file = str(url.query["sslrootcert"])
    try:
        context = ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"store.url: sslrootcert {file} cannot be read: {exc.strerror}.", param="store.url"
        ) from exc
    # As libpq: a certificate authority is never ignored, and only verify-full compares names.
    context.check_hostname = url.query.get("ssl", "verify-full") == "verify-full"
    return context


def to_json(value: object) -> str:
    """Return JSON that both databases take, whatever a client sent: NaN becomes null."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers over 64 bits, lone surrogates
        plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace").decode()
