"""An SQLite file without SQLAlchemy, for what its engines do not do; and the way under a key."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

from sqlalchemy import URL

from serving.encryption.keyring import Keyring
from serving.errors import ConfigError
from serving.store.drivers import sqlcipher
from serving.store.drivers.sqlcipher import PARAM

ENCRYPTION = "encryption"
"""The part of a URL that says where the keys of the file lie; `Settings.store_address` puts it."""


def keys_of(url: URL) -> Keyring | None:
    """Return the keys that a URL's file is encrypted under; None where it is not.

    Raises:
        ConfigError: They cannot be read.
    """
    where = url.query.get(ENCRYPTION)
    return None if where is None else sqlcipher.keys(str(where))


def open_file(url: URL, **options: Any) -> sqlite3.Connection:
    """Open the file of a URL; `options` are `sqlite3.connect`'s, and so is what comes.

    Raises:
        ConfigError: As `sqlcipher.open_file`.
    """
    ring = keys_of(url)
    file = url.database or ""
    if ring is None:
        plain: sqlite3.Connection = sqlite3.connect(file, **options)
        return plain
    return cast("sqlite3.Connection", sqlcipher.open_file(file, ring, **options))


def operational(url: URL) -> type[Exception]:
    """Return the class of errors that say "locked" where this URL's file is."""
    if url.query.get(ENCRYPTION) is None:
        return sqlite3.OperationalError
    found: type[Exception] = sqlcipher.library().OperationalError
    return found


def encrypt(url: URL) -> bool:
    """Put a file that nobody has open under the newest key, all of it or nothing.

    A plain file is copied into an encrypted one, which then takes its place; its old blocks on the
    disk are the disk's business. One under an older key is written anew under the newest.

    Args:
        url: Of an encrypted store.

    Returns:
        Whether it was plain.

    Raises:
        ConfigError: There is no such file, somebody has it open, or its key is not there.
    """
    ring, file = keys_of(url), url.database or ""
    if ring is None or not Path(file).is_file():
        raise ConfigError(f"{PARAM}: {file} is no file to encrypt.", param=PARAM)
    plain = sqlcipher.is_plain(file)
    driver = sqlcipher.library()
    key = sqlcipher.pragma(ring, ring.newest)
    try:
        with closing(driver.connect(file) if plain else sqlcipher.open_file(file, ring)) as held:
            # Needs the file for itself alone, and leaves no log beside it.
            held.execute("PRAGMA locking_mode = EXCLUSIVE")
            if held.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
                raise driver.OperationalError("database is locked")  # SQLite only stays as it is
            if plain:
                _copy(held, file, key)
            else:
                held.execute(f"PRAGMA rekey = {key}").fetchall()
    except driver.OperationalError as exc:
        raise ConfigError(
            f"{PARAM}: {file} cannot be encrypted: {exc}. Stop the server and what else uses it.",
            param=PARAM,
        ) from exc
    return plain


def _copy(held: Any, file: str, key: str) -> None:
    part = Path(f"{file}.encrypting")
    for leftover in (part, Path(f"{part}-journal")):
        with suppress(FileNotFoundError):  # of a call that was killed
            leftover.unlink()
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, Path(file).stat().st_mode & 0o777))
    held.execute(f"ATTACH DATABASE ? AS encrypted KEY {key}", (str(part),))
    held.execute("SELECT sqlcipher_export('encrypted')").fetchall()
    held.execute("DETACH DATABASE encrypted")
    with part.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(part, file)
