"""Fixtures that all tests share: a clean environment, and real databases of both kinds.

PostgreSQL is started once by each of the run's processes from the server's own binaries; its tests
are skipped only where there are none. The run counts the engines that it starts, and fails where
there are too many.
"""

import os
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from serving.store.database import Database
from tests.census import Census
from tests.e2e.server import needs_servers
from tests.postgres import Postgres, binaries

settings.register_profile("shared machine", deadline=None)  # speed is no matter of tests
settings.load_profile("shared machine")

CENSUS = pytest.StashKey[Census]()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Count engines and Rays while tests run, and fail the run above the bounds.

    Drills start more: they are for a larger machine. A worker of pytest-xdist leaves the counting
    to the process that started it.
    """
    if hasattr(session.config, "workerinput"):
        return (yield)
    with Census() as census:
        session.config.stash[CENSUS] = census
        done = yield
    if census.exceeds() and not _drills(session.config):
        session.testsfailed += 1
    return done


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Give a worker whole files, and one worker all files that share the two servers."""
    return ByServers(config, log)


class ByServers(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
    """xdist's scheduler by scope, where a scope is a file, or all that need the servers.

    Its `loadgroup` marks test ids, which pytest 9 no longer lets it.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "servers" if needs_servers(Path(file)) else file


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many engines and Rays were started."""
    if census := config.stash.get(CENSUS, None):
        failed = census.exceeds() and not _drills(config)
        terminalreporter.line(census.said(), red=failed)


def _drills(config: pytest.Config) -> bool:
    return config.option.markexpr == "drill"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("SWITCHBOARD_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start PostgreSQL and return the URL of its `postgres` database."""
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL server binaries: neither `pg_config --bindir` nor /usr/lib has")
    server = Postgres(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


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


def _create_database(url: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return url.rpartition("/")[0] + "/" + name


def _drop_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
