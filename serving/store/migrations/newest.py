"""Whether a database has the newest tables, asked without Alembic.

Every process and every command opens the store, nearly always one that needs no step; Alembic
alone takes as long to import as all the rest of such a command.
"""

import re
from pathlib import Path

from sqlalchemy import URL, inspect, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from serving.store.connection import connect

_STEP = re.compile(r"(\d{4})_\w+\.py")


def newest() -> str:
    """Return the newest step's revision, which is the number that its file's name begins with."""
    files = (Path(__file__).parent / "versions").iterdir()
    return max(step[1] for file in files if (step := _STEP.fullmatch(file.name)))


async def has_newest(url: URL) -> bool:
    """Whether the database at `url` is at the newest step."""
    sqlite = url.get_backend_name() == "sqlite"
    engine = connect(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            found = await connection.scalars(text("SELECT version_num FROM alembic_version"))
            if list(found) != [newest()]:
                return False
            return not sqlite or await connection.scalar(text("PRAGMA journal_mode")) == "wal"
    except ProgrammingError:  # PostgreSQL: no such table
        return False
    except OperationalError:
        if not sqlite:  # it does not answer
            raise
        return False
    finally:
        await engine.dispose()


async def has_tables(url: URL) -> bool:
    """Whether the database at `url` holds any table."""
    engine = connect(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return bool(await connection.run_sync(lambda one: inspect(one).get_table_names()))
    finally:
        await engine.dispose()
