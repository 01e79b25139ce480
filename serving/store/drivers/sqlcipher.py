"""SQLite's files under a key, by SQLCipher: AES-256 of every page, its log's too, with HMAC-SHA512.

Its driver is Python's `sqlite3` built with another library, so it has error classes of its own;
aiosqlite and SQLAlchemy take it in the place of the other. The key is derived from one of
`storage.keys` and handed over raw: nothing is stretched, and a URL names only where the keys lie.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_dbapi,
)

from serving.config.storage import StorageKeys
from serving.encryption import keyring
from serving.encryption.keyring import Keyring
from serving.errors import ConfigError

PARAM = "store.encrypt"
PURPOSE = "store"
"""What the deployment's keys are derived for; another purpose gives another key."""
PLAIN = b"SQLite format 3\0"
"""What every SQLite file without a key begins with."""

_ERRORS = (
    "DatabaseError",
    "Error",
    "IntegrityError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
)
_ITER_CHUNK = 64  # aiosqlite's own


def library() -> ModuleType:
    """Return SQLCipher's driver.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        from sqlcipher3 import dbapi2
    except ImportError as exc:
        raise ConfigError(
            f"{PARAM}: SQLCipher is not installed. Install the extra `sqlcipher`: "
            "pip install 'switchboard[sqlcipher]'.",
            param=PARAM,
        ) from exc
    found: ModuleType = dbapi2
    return found


def keys(where: str) -> Keyring:
    """Return the keys that a URL's `encryption` leads to.

    Args:
        where: `storage.keys` as JSON.

    Raises:
        ConfigError: They cannot be read.
    """
    return keyring.read(StorageKeys.model_validate(json.loads(where)))


def pragma(ring: Keyring, id_: str) -> str:
    """Return the raw key of a database under one of the deployment's, as SQL writes it."""
    return f"\"x'{ring.derived(id_, PURPOSE).hex()}'\""


def open_file(file: str, ring: Keyring, **options: Any) -> Any:
    """Open a file with whichever key it has; a new file gets the newest.

    Args:
        file: Its path.
        ring: The deployment's keys.
        options: As of `sqlite3.connect`.

    Raises:
        ConfigError: It is under none of these keys, or under none at all.
    """
    driver = library()
    for id_ in reversed(list(ring.keys)):
        connection = driver.connect(file, **options)
        try:
            connection.execute(f"PRAGMA key = {pragma(ring, id_)}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("PRAGMA temp_store = MEMORY")  # SQLite's other files have no key
        except driver.OperationalError:  # it is locked, or cannot be opened
            connection.close()
            raise
        except driver.DatabaseError:  # "file is not a database": so it is with a wrong key
            connection.close()
        else:
            return connection
    # Only here: closing a file ends all locks that this process has on it, as POSIX wants it.
    if is_plain(file):
        raise ConfigError(
            f"{PARAM}: {file} is not encrypted. Stop what uses it and encrypt it with "
            "`switchboard vault encrypt-store`, or give store.url a new file.",
            param=PARAM,
        )
    raise ConfigError(
        f"{PARAM}: {file} opens with no key of storage.keys, which has {', '.join(ring.keys)}. Put "
        "the key that it was made under back before the others; or the file is no database.",
        param=PARAM,
    )


def is_plain(file: str) -> bool:
    """Whether a file is SQLite's, under no key."""
    try:
        with Path(file).open("rb") as opened:
            return opened.read(len(PLAIN)) == PLAIN
    except OSError:
        return False  # it is made, or SQLite says why not


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """What SQLAlchemy's dialect of aiosqlite takes for its driver.

    Args:
        ring: The keys; the file's is among them.
    """

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring
        super().__init__(aiosqlite, library())

    def _init_dbapi_attributes(self) -> None:
        super()._init_dbapi_attributes()
        for name in (*_ERRORS, "sqlite_version", "sqlite_version_info"):
            setattr(self, name, getattr(self.sqlite, name))

    def connect(self, *args: Any, **options: Any) -> AsyncAdapt_aiosqlite_connection:
        """Open a connection in a thread of its own, as aiosqlite does."""

        async def creator(file: str, **options: Any) -> aiosqlite.Connection:
            connection = aiosqlite.Connection(
                lambda: open_file(file, self._ring, **options), _ITER_CHUNK
            )
            connection._thread.daemon = True  # as SQLAlchemy does where it opens one itself
            return await connection

        return super().connect(*args, async_creator_fn=creator, **options)
