"""Making a backup while the server answers.

The order loses nothing that was acknowledged: first what waits in this machine's journals, then one
state of the store, then the adapters and files that the store names. What a drainer moves meanwhile
is in both of the first two, and draining it again changes nothing; adapters and files are never
changed, only added.
"""

import asyncio
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from serving.adapters import artifacts
from serving.backup import manifest, postgres
from serving.backup.manifest import Manifest, Version
from serving.config.settings import Settings
from serving.errors import AdapterRefused, ConfigError, Conflict, NotFound, Unavailable
from serving.files.storage import FileStorage
from serving.store import adapter_versions, audit
from serving.store.database import Database
from serving.store.files import files
from serving.store.migrations.newest import newest

STORES = {"sqlite": "store.sqlite", "postgresql": "store.dump"}
"""Where the database's state lies in a backup, by its kind."""
_LOG = ".log"


async def take(settings: Settings, target: Path) -> Manifest:
    """Write a backup to a folder that is not there yet; it appears whole or not at all.

    Args:
        settings: The deployment.
        target: The folder. What it holds is as private as the store.

    Raises:
        Conflict: The folder is there.
        ConfigError: The store is of another release, or a program that is needed is missing.
        StoreUnavailable: The store cannot be read.
        Unavailable: A file cannot be written.
    """
    target, part = _places(target)
    db = Database(settings.store_address)
    if not await db.at_newest():
        raise ConfigError(
            "store.url: it is not of this release. Back it up with the release that it is of.",
            param="store.url",
        )
    try:
        shutil.rmtree(part, ignore_errors=True)  # of one that was cut short
        part.mkdir(parents=True, mode=0o700)
        found = await _fill(settings, db, part)
        (part / manifest.FILE).write_text(found.model_dump_json(indent=1) + "\n")
        _sync(part)
        part.rename(target)
    except OSError as exc:
        raise Unavailable("The backup cannot be written.", reason=str(exc)) from exc
    finally:
        shutil.rmtree(part, ignore_errors=True)
        await db.close()
    return found


async def _fill(settings: Settings, db: Database, part: Path) -> Manifest:
    kind = "sqlite" if db.is_sqlite else "postgresql"
    began = now()
    await audit.write(db, None, "backup", part.name, {"by": audit.operator()})
    await asyncio.to_thread(_journals, settings.journal.dir, part / manifest.JOURNALS)
    await _snapshot(db, part / STORES[kind])
    versions, missing = await _adapters(settings, db, part)
    ids, lost = await _files(settings, db, part / manifest.FILES)
    return Manifest(
        release=version("switchboard"),
        revision=newest(),
        store=kind,
        began_at=began,
        ended_at=now(),
        versions=versions,
        files=ids,
        missing=missing + lost,
        sha256=await asyncio.to_thread(manifest.hashes, part),
    )


def now() -> str:
    """Return the time in UTC as ISO 8601 gives it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _journals(folder: Path, target: Path) -> None:
    """Copy segments; one that goes meanwhile has been drained, and is in the store."""
    for source in sorted(folder.rglob(f"*{_LOG}")) if folder.is_dir() else []:
        copy = target / source.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(source, copy, follow_symlinks=False)


async def _snapshot(db: Database, target: Path) -> None:
    if not db.is_sqlite:
        await postgres.dump(db.url, target)
        return
    async with db.reader() as connection:
        raw: Any = await connection.get_raw_connection()
        # One state, read as any reader does: writers do not wait.
        await raw.driver_connection.execute("VACUUM INTO ?", (str(target),))


async def _adapters(
    settings: Settings, db: Database, part: Path
) -> tuple[list[Version], list[str]]:
    versions, missing = [], []
    for known in await adapter_versions.list_all(db):
        mine = Version(lob=known.lob, number=known.number, manifest_hash=known.manifest_hash)
        try:
            source = await asyncio.to_thread(
                artifacts.fetch, known.uri, settings.adapters.cache_dir, known.manifest_hash
            )
        except (AdapterRefused, Unavailable) as exc:
            missing.append(f"{known.name}: {exc}")
            continue
        await asyncio.to_thread(shutil.copytree, source, part / mine.path)
        versions.append(mine)
    return versions, missing


async def _files(settings: Settings, db: Database, folder: Path) -> tuple[list[str], list[str]]:
    storage = FileStorage(settings.files.uri)
    ids, missing = [], []
    for id_ in await files.ids(db):
        try:
            source = await storage.open(id_)
        except NotFound:
            if id_ in await files.ids(db):  # else its owner has deleted it meanwhile
                missing.append(f"{id_}: its bytes are gone")
            continue
        with _new_file(folder / id_) as target:
            async for chunk in storage.chunks(source):
                target.write(chunk)
        ids.append(id_)
    return ids, missing


def _places(target: Path) -> tuple[Path, Path]:
    """Return where a backup goes, and where it is made."""
    target = target.absolute()
    if target.exists():
        raise Conflict(f"{target} is there: name a new folder.")
    return target, target.with_name(f".{target.name}.part")


def _new_file(path: Path) -> IO[bytes]:
    path.parent.mkdir(exist_ok=True)
    return path.open("wb")


def _sync(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
