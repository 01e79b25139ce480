"""Bring a database to the newest tables, safely from many processes at once.

The whole upgrade is one transaction behind the database's own lock: SQLite's write lock, or an
advisory lock in PostgreSQL. A process that is killed half-way leaves nothing behind, and the
others wait and then find the work done. To add a step, write the next file in `versions` by hand;
`tests/serving/store/test_migrations.py` fails until it equals `models.py`.
"""

import asyncio
import threading
import time
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from serving.errors import ConfigError
from serving.store.connection import BUSY_TIMEOUT_S, connect
from serving.store.drivers import files

ADVISORY_LOCK = 0x5B_0A_2D

_one_at_a_time = threading.Lock()  # alembic keeps its context in globals


def config() -> Config:
    """Return Alembic's configuration; there is no alembic.ini."""
    config = Config()
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config


def upgrade(url: URL) -> None:
    """Upgrade the database at `url` to the newest tables; blocks, so call it in a thread.

    Raises:
        ConfigError: The tables are of a newer release.
    """
    with _one_at_a_time:
        asyncio.run(_upgrade(url))


async def _upgrade(url: URL) -> None:
    engine = connect(url, poolclass=NullPool)
    try:
        if url.get_backend_name() == "sqlite":
            _switch_to_wal(url)
        async with engine.execution_options(switchboard_write=True).begin() as connection:
            if url.get_backend_name() != "sqlite":
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


def _run(connection: Connection) -> None:
    configuration = config()
    script = ScriptDirectory.from_config(configuration)
    known = {step.revision for step in script.walk_revisions()}
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in known:
            raise ConfigError(
                f"store.url: its tables are of step {found}, of a newer release; this one knows "
                f"steps up to {script.get_current_head()}. Run that release, or restore a backup "
                "of before.",
                param="store.url",
            )
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")


def _switch_to_wal(url: URL) -> None:
    """Set the file's journal mode, for which SQLite does not queue: it refuses when busy."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    with closing(files.open_file(url, timeout=BUSY_TIMEOUT_S)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except files.operational(url) as exc:
                if "locked" not in str(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
