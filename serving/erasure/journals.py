"""Erasure in the journals of this machine: what waits there, and what the store once refused.

A journal that is being written is its replica's: that has it drained, with the store refusing what
was erased, removes the segments, and says so in the store (`Cleaner`). What no living process
holds is written anew without the erased payloads (`scrub`).
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from serving.capture import Drainer, segments
from serving.capture.journal import REJECTED
from serving.errors import Unavailable
from serving.store.database import Database
from serving.store.erasure import erasures, tombstones
from serving.store.erasure.tombstones import Marks

logger = logging.getLogger(__name__)

PAGE = 64
"""Payloads that are looked up at once."""
LOOK_S = 1.0
HEARD_S = 10.0
SILENT_S = 60.0
"""A journal that was not heard of for so long is a dead process's: whoever starts there cleans."""
Unseal = Callable[[bytes], bytes]


class Cleaner:
    """Keeps a replica's disk clean of what is erased, in the background.

    Args:
        db: The store.
        drainer: The replica's.
        directory: The folder of all journals.
        name: The replica's own journal.
        unseal: Opens a payload as it lies there.
    """

    def __init__(
        self, db: Database, drainer: Drainer, directory: Path, name: str, unseal: Unseal
    ) -> None:
        self._db = db
        self._drainer = drainer
        self._directory = directory
        self._name = name
        self._unseal = unseal

    async def run(self) -> None:
        """Look for erasures until cancelled."""
        clean, silent_s = -1, 0.0
        while True:
            with suppress(Unavailable, OSError):
                newest = await erasures.newest(self._db)
                if newest > clean or silent_s >= HEARD_S:
                    await erasures.heard(self._db, self._name, max(clean, 0) if newest else 0)
                    silent_s = 0.0
                if newest > clean:
                    if newest:
                        await self._drainer.purge()
                        await scrub_rejected(self._db, self._directory, self._unseal)
                    await erasures.heard(self._db, self._name, newest)
                    clean = newest
            await asyncio.sleep(LOOK_S)
            silent_s += LOOK_S


async def scrub(db: Database, directory: Path, unseal: Unseal) -> int:
    """Take erased payloads out of the journals that no living process holds.

    Returns:
        How many payloads went.
    """
    gone = 0
    for folder in await asyncio.to_thread(_folders, directory):
        if folder.name == REJECTED:
            continue
        lock = await asyncio.to_thread(segments.own, folder)
        if lock is None:
            continue  # a living replica's: it drains it
        try:
            for number in segments.segment_numbers(folder):
                gone += await _rewrite(db, segments.segment_path(folder, number), unseal)
        finally:
            segments.disown(folder, lock)
    return gone + await scrub_rejected(db, directory, unseal)


async def scrub_rejected(db: Database, directory: Path, unseal: Unseal) -> int:
    """Remove erased payloads that the store once refused; return how many."""
    gone = 0
    for folder in await asyncio.to_thread(_folders, directory / REJECTED):
        for number in segments.segment_numbers(folder):
            gone += await _rewrite(db, segments.segment_path(folder, number), unseal)
        if not segments.segment_numbers(folder):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return gone


def _folders(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.is_symlink())


async def _rewrite(db: Database, path: Path, unseal: Unseal) -> int:
    """Write a segment anew without what is erased; it is removed if nothing is left."""
    payloads = await asyncio.to_thread(lambda: list(_payloads(path)))
    marks = [_marks(path, one, unseal) for one in payloads]
    known = [one for one in marks if one is not None]
    if not known:
        return 0
    gone: set[str] = set()
    async with db.session() as connection:
        for start in range(0, len(known), PAGE):
            page = known[start : start + PAGE]
            gone |= await tombstones.refused(db, connection, page)
    kept = [p for p, m in zip(payloads, marks, strict=True) if m is None or m.id not in gone]
    if len(kept) < len(payloads):
        await asyncio.to_thread(_write, path, kept)
    return len(payloads) - len(kept)


def _payloads(path: Path) -> Iterator[bytes]:
    offset, done = 0, False
    while not done:
        found = segments.read(path, offset, 256, sealed=True)
        yield from (frame.payload for frame in found.frames)
        offset, done = found.end, found.done


def _marks(path: Path, payload: bytes, unseal: Unseal) -> Marks | None:
    try:
        marks = tombstones.marks_of(unseal(payload))
    except Unavailable:
        marks = None
    if marks is None:
        logger.warning("%s: a payload cannot be read, so whose it is stays unknown", path)
    return marks


def _write(path: Path, payloads: Sequence[bytes]) -> None:
    if not payloads:
        path.unlink()
        return
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for payload in payloads:
            file.write(segments.header(payload) + payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
