"""Fixtures that all tests share: a clean environment, and real databases of both kinds.

PostgreSQL is started once a session from the server's own binaries. It refuses to run as root, so
root starts it as the user `postgres`; its tests are skipped only where there are no binaries.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from serving.store.database import Database


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("SWITCHBOARD_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start PostgreSQL and return the URL of its `postgres` database."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server binaries: neither `pg_config --bindir` nor /usr/lib has")
    user = "postgres" if os.getuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="sb-postgres-"))
    if user is not None:
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        initdb: list[str | Path] = [
            binaries / "initdb",
            "-D",
            home / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        initdb += ["-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, user=user, cwd=home, check=True, stdout=subprocess.DEVNULL)
        command: list[str | Path] = [binaries / "postgres", "-D", home / "data", "-k", home]
        command += ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (home / "log").open("w") as log:
            server = subprocess.Popen(command, user=user, cwd=home, stderr=log)
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            _wait_for(url, server, home / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown: SIGTERM waits for clients
            server.wait(30)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """Return the URL of a database with all tables, which tests copy and never open."""
    import asyncio

    async def migrate() -> None:
        db = Database(url)
        await db.open()
        await db.close()

    url = _create_database(postgres, "migrated")
    asyncio.run(migrate())
    return url


@pytest.fixture
def empty_postgres_url(postgres: str) -> Iterator[str]:
    """Return the URL of a fresh PostgreSQL database without tables."""
    name = f"test_{uuid.uuid4().hex}"
    yield _create_database(postgres, name)
    _drop_database(postgres, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
def copied_postgres_url(postgres: str, migrated_postgres: str) -> Iterator[str]:
    """Return the URL of a fresh PostgreSQL database with all tables."""
    name = f"test_{uuid.uuid4().hex}"
    yield _create_database(postgres, name, template="migrated")
    _drop_database(postgres, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a fresh store, of each kind in turn; opening it makes SQLite's tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    url: str = request.getfixturevalue("copied_postgres_url")
    return url


@pytest.fixture
async def db(store_url: str) -> AsyncIterator[Database]:
    """Return an open store, of each kind in turn."""
    database = Database(store_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def sqlite_db(tmp_path: Path) -> AsyncIterator[Database]:
    """Return an open SQLite store, for tests to which the database makes no difference."""
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await database.open()
    yield database
    await database.close()


def _postgres_binaries() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        shown = subprocess.run(["pg_config", "--bindir"], capture_output=True, check=True)
        folders.insert(0, Path(shown.stdout.decode().strip()))
    both = (folder for folder in folders if (folder / "initdb").exists())
    return next((folder for folder in both if (folder / "postgres").exists()), None)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


def _create_database(url: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return url.rpartition("/")[0] + "/" + name


def _drop_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
