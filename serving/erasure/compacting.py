"""So that no byte of what was deleted stays in the database's own files."""

import asyncio
import time
from contextlib import closing

from sqlalchemy import URL

from serving.errors import StoreUnavailable
from serving.store.connection import BUSY_TIMEOUT_S
from serving.store.database import Database
from serving.store.drivers import files

PAUSE_S = 0.2


async def compact(db: Database, timeout_s: float = 120.0) -> None:
    """Have SQLite write its file anew and empty its log; PostgreSQL's is VACUUM's business.

    Writers wait while the file is written. Rows that PostgreSQL has deleted are dead tuples until
    (auto)vacuum takes them, and lie in its log until that is recycled: docs/safety.md.

    Raises:
        StoreUnavailable: Readers held an old state for all that time.
    """
    if db.is_sqlite:
        await asyncio.to_thread(_vacuum, db.url, timeout_s)


def _vacuum(url: URL, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    options = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    with closing(files.open_file(url, **options)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        while True:
            try:
                connection.execute("VACUUM")
                # 0: the whole log is in the file, and the log is empty
                if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                    return
            except files.operational(url) as exc:
                if "locked" not in str(exc):
                    raise StoreUnavailable(
                        "The store cannot be compacted.", reason=str(exc)
                    ) from exc
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    "The store is too busy to be compacted. Ask again.",
                    reason=f"readers of {url.database} held an old state for {timeout_s:g} s",
                )
            time.sleep(PAUSE_S)
