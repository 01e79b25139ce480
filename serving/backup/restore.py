"""Bringing a backup back, into places that hold nothing yet.

The store comes last and appears at once, so a restore that is cut short leaves nothing that a
server would start on, and the same command goes on with it.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Update, update
from sqlalchemy.dialects import postgresql

from serving.adapters import artifacts
from serving.backup import manifest
from serving.backup import postgres as programs
from serving.backup.manifest import Manifest
from serving.backup.take import STORES
from serving.config.settings import Settings
from serving.errors import AdapterRefused, ConfigError, Conflict, Unavailable
from serving.files.storage import FileStorage
from serving.store import audit
from serving.store.database import Database
from serving.store.migrations.newest import newest
from serving.store.tables import AdapterVersionRow

_RESTORED = "restored-"
_SQL = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_LITERAL = {"literal_binds": True}


async def restore(settings: Settings, folder: Path) -> Manifest:
    """Bring a backup back and its tables to this release's.

    Args:
        settings: The deployment, whose store must be empty; adapters and files go where it says,
            wherever they were.
        folder: The backup.

    Raises:
        ConfigError: It is no whole backup, is of a newer release or of the other kind of database,
            or the store has tables.
        Conflict: A version's folder holds other bytes.
        StoreUnavailable: The store cannot be written.
        Unavailable: A file cannot be written.
    """
    folder = await asyncio.to_thread(folder.absolute)
    found = await asyncio.to_thread(manifest.read, folder)
    db = Database(settings.store_address)
    try:
        await _check(db, found)
        uris = [await asyncio.to_thread(_publish, settings, folder, one) for one in found.versions]
        await _put_files(settings, folder, found.files)
        await asyncio.to_thread(
            _put_journals, folder / manifest.JOURNALS, settings.journal.dir.absolute()
        )
        await _put_store(db, folder, found, uris)
    except OSError as exc:
        raise Unavailable("The backup cannot be brought back.", reason=str(exc)) from exc
    finally:
        await db.close()
    return found


async def _check(db: Database, found: Manifest) -> None:
    kind = "sqlite" if db.is_sqlite else "postgresql"
    if found.store != kind:
        raise ConfigError(
            f"store.url names {kind}, and the backup is of {found.store}: it goes back into the "
            "kind that it came from.",
            param="store.url",
        )
    if found.revision > newest():
        raise ConfigError(
            f"The backup is of release {found.release} (tables {found.revision}), and this one "
            f"knows tables up to {newest()}. Restore it with that release."
        )
    if await db.has_tables():
        raise ConfigError(
            "store.url names a store that holds something: restore into an empty one.",
            param="store.url",
        )


def _publish(settings: Settings, folder: Path, one: manifest.Version) -> tuple[str, int, str]:
    """Put a version's files where the configuration says; return its line, number and URI."""
    source = folder / one.path
    try:
        uri, hash_ = artifacts.publish(source, settings.adapters.uri, one.lob, one.number)
    except Conflict:  # of a restore that was cut short, or the very folder that was backed up
        uri = artifacts.place(settings.adapters.uri, one.lob, one.number)
        try:
            artifacts.fetch(uri, settings.adapters.cache_dir, one.manifest_hash)
        except AdapterRefused as exc:
            raise Conflict(f"{uri} is there and holds something else: {exc}") from exc
        return one.lob, one.number, uri
    if hash_ != one.manifest_hash:
        raise ConfigError(f"{source} is not the version that was registered.")
    return one.lob, one.number, uri


async def _put_files(settings: Settings, folder: Path, ids: Sequence[str]) -> None:
    storage = FileStorage(settings.files.uri)
    for id_ in ids:
        with (folder / manifest.FILES / id_).open("rb") as source:
            await storage.put(id_, source)


def _put_journals(source: Path, target: Path) -> None:
    """Lay segments where the next replica adopts and drains them."""
    for writer in sorted(source.iterdir()) if source.is_dir() else []:
        place = target / f"{_RESTORED}{writer.name}"
        place.mkdir(parents=True, exist_ok=True)
        for segment in writer.iterdir():
            shutil.copyfile(segment, place / segment.name)


async def _put_store(
    db: Database, folder: Path, found: Manifest, uris: Sequence[tuple[str, int, str]]
) -> None:
    source = folder / STORES[found.store]
    detail = {"of": found.began_at, "release": found.release, "by": audit.operator()}
    if not db.is_sqlite:
        moved = [str(_moved(*one).compile(dialect=_SQL, compile_kwargs=_LITERAL)) for one in uris]
        then = ["RESET search_path", *moved]  # the dump has emptied it
        await programs.load(db.url, source, then, folder.with_name(f".{folder.name}.sql"))
        await db.open()
        await audit.write(db, None, "restore", folder.name, detail)
        return
    target, part = await asyncio.to_thread(_lay, source, Path(db.url.database or ""))
    copy = Database(db.url.set(database=str(part)).render_as_string(hide_password=False))
    try:
        await copy.open()
        async with copy.session() as connection:
            for one in uris:
                await connection.execute(_moved(*one))
            await audit.append(connection, None, "restore", folder.name, detail)
    finally:
        await copy.close()  # the last connection, which empties the log into the file
    _sync(part)
    part.rename(target)
    _sync(target.parent)


def _lay(source: Path, target: Path) -> tuple[Path, Path]:
    """Copy SQLite's file beside where it belongs; return that place, and the copy's."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.restoring")
    for left in (part, *(part.with_name(f"{part.name}{end}") for end in ("-wal", "-shm"))):
        left.unlink(missing_ok=True)
    shutil.copyfile(source, part)
    return target, part


def _moved(lob: str, number: int, uri: str) -> Update:
    """Return the change of where a version's files are."""
    mine = AdapterVersionRow.lob == lob, AdapterVersionRow.number == number
    return update(AdapterVersionRow).where(*mine).values(uri=uri)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
