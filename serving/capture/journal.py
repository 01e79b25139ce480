"""The writing side of the journal."""

import asyncio
import errno
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from serving.capture import segments
from serving.errors import InvalidRequest, JournalFull
from serving.observability.alarm import Alarm

_WRITER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

REJECTED = "rejected"


class Journal:
    """An append-only log of one process.

    Args:
        directory: The folder of all journals, on a local disk.
        writer: The name of this one's own folder in it; where a living process has that, or is
            draining what a dead one left there, a number is added.
        fsync: What `commit` waits for: "background" for nothing, as the disk is synced on the
            side, or "commit" for the sync, which all commits of that moment share.
        fsync_interval_s: How much a power cut may take in the background mode.
        segment_bytes: When to begin a new file.
        limit_bytes: How much may wait for the store; then `append` refuses.
        seal: What becomes of a payload before it is written; None writes it as it is.
    """

    def __init__(
        self,
        directory: Path | str,
        writer: str,
        *,
        fsync: Literal["background", "commit"] = "background",
        fsync_interval_s: float = 0.05,
        segment_bytes: int = 8 << 20,
        limit_bytes: int = 1 << 30,
        seal: Callable[[bytes], bytes] | None = None,
    ) -> None:
        if not _WRITER.fullmatch(writer) or writer == REJECTED:
            raise InvalidRequest(f"{writer!r} cannot name a journal: use letters, digits, _ . -")
        self.folder, self._lock = _own_folder(Path(directory).absolute(), writer)
        self._fsync_interval_s = 0.0 if fsync == "commit" else fsync_interval_s
        self._waits = fsync == "commit"
        self._segment_bytes = segment_bytes
        self._seal_payload = seal
        self.limit_bytes = limit_bytes
        numbers = segments.segment_numbers(self.folder)
        paths = [segments.segment_path(self.folder, number) for number in numbers]
        self._appended = sum(path.stat().st_size for path in paths)
        self._appended_frames = sum(map(segments.count, paths))
        self._drained = self._drained_frames = 0
        self.lost = 0
        """How many payloads could not be written since the start."""
        self.on_append: Callable[[int], object] = lambda _: None
        """Is called after each payload, by the thread that appended it, with its size in bytes."""
        self._writing = Alarm(f"interactions are lost, as the journal {self.folder} takes none")
        self._syncing = Alarm(f"a power cut may lose the newest interactions of {self.folder}")
        self.alarms = (self._writing, self._syncing)
        self._number = max(numbers, default=0) + 1  # what is there is a dead writer's, and sealed
        self._size = 0
        self._descriptor: int | None = None
        self._folder_dirty = True
        self._sealed: list[int] = []  # file descriptors that the syncer has yet to sync and close
        self._guard = threading.Lock()
        self._dirty = threading.Event()
        self._waiting: list[Callable[[OSError | None], object]] = []
        self._closed = False
        self._syncer = threading.Thread(target=self._keep_syncing, name="journal-sync", daemon=True)
        self._syncer.start()
        _journals.add(self)

    @property
    def appended_bytes(self) -> int:
        """How much was appended, with what was found in the folder at the start."""
        return self._appended

    @property
    def drained_bytes(self) -> int:
        """How much of that is in the store."""
        return self._drained

    @property
    def backlog_bytes(self) -> int:
        """What is not in the store yet."""
        return self._appended - self._drained

    @property
    def backlog_frames(self) -> int:
        """How many payloads are not in the store yet."""
        return max(0, self._appended_frames - self._drained_frames)

    @property
    def segment(self) -> int:
        """The number of the segment that is being written; those before it are sealed."""
        return self._number

    def drained(self, size: int, frames: int = 0) -> None:
        """Note that `size` more bytes, `frames` payloads, are in the store."""
        self._drained += size
        self._drained_frames += frames

    def append(self, payload: bytes) -> None:
        """Write one payload; when this returns, `kill -9` cannot lose it.

        Raises:
            JournalFull: The limit is reached, or the disk is full; nothing was written.
            OSError: The disk fails; nothing was written.
        """
        if not payload:
            raise InvalidRequest("an empty payload cannot be journalled")
        if self._seal_payload is not None:
            payload = self._seal_payload(payload)
        header = segments.header(payload)
        size = len(header) + len(payload)
        try:
            self._append(header, payload, size)
        except (JournalFull, OSError) as exc:
            self.lost += 1
            self._writing.on(exc)
            raise
        self._writing.off()
        if not self._dirty.is_set():
            self._dirty.set()
        self.on_append(size)

    async def commit(self, payload: bytes) -> None:
        """Append, and wait for the disk if this journal was told to; raises as `append` does."""
        if not self._waits:
            self.append(payload)
            return
        loop = asyncio.get_running_loop()
        synced: asyncio.Future[OSError | None] = loop.create_future()

        def tell(error: OSError | None) -> None:
            if not synced.done():
                synced.set_result(error)

        self.append(payload)
        with self._guard:
            self._waiting.append(lambda error: loop.call_soon_threadsafe(tell, error))
        self._dirty.set()
        if (error := await synced) is not None:
            raise error

    def seal(self) -> int:
        """Begin a new segment with the next payload; those before the one returned are sealed."""
        with self._guard:
            self._seal()
            return self._number

    def close(self) -> None:
        """Sync and let go; what is not drained stays for whoever adopts it."""
        if self._closed:
            return
        self._closed = True
        self._dirty.set()
        self._syncer.join()
        self._seal()
        self._sync()
        if self.backlog_bytes == 0:
            for number in segments.segment_numbers(self.folder):
                segments.segment_path(self.folder, number).unlink()
        segments.disown(self.folder, self._lock)
        _journals.discard(self)

    def _append(self, header: bytes, payload: bytes, size: int) -> None:
        with self._guard:
            if self.backlog_bytes + size > self.limit_bytes:
                raise JournalFull(
                    "The journal is at its limit.",
                    reason=f"the journal {self.folder} holds {self.backlog_bytes} bytes that are "
                    f"not in the store yet, and its limit is {self.limit_bytes}",
                )
            try:
                self._write(header, payload, size)
            except OSError as exc:
                if exc.errno in _FULL:
                    raise JournalFull(
                        "The journal's disk is full.",
                        reason=f"the disk of {self.folder} is full: {exc}",
                    ) from exc
                raise
            self._appended += size
            self._appended_frames += 1

    def _write(self, header: bytes, payload: bytes, size: int) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the journal is closed")
        if self._size >= self._segment_bytes:
            self._seal()
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            path = segments.segment_path(self.folder, self._number)
            self._descriptor = os.open(path, flags, 0o600)
            self._size, self._folder_dirty = 0, True
        try:
            written = os.writev(self._descriptor, (header, payload))
            if written != size:
                raise OSError(errno.ENOSPC, "only a part was written")
        except OSError:
            self._undo(self._descriptor)
            raise
        self._size += size

    def _undo(self, descriptor: int) -> None:
        """Take half a frame back; where even that fails, leave the segment to its torn end."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._appended += os.fstat(descriptor).st_size - self._size
            self._seal()

    def _seal(self) -> None:
        if self._descriptor is not None:
            self._sealed.append(self._descriptor)
            self._descriptor, self._size = None, 0
            self._number += 1

    def _keep_syncing(self) -> None:
        while not self._closed:
            self._dirty.wait()
            if self._fsync_interval_s and not self._closed:
                time.sleep(self._fsync_interval_s)
            self._dirty.clear()
            self._sync()

    def _sync(self) -> None:
        with self._guard:
            sealed, self._sealed = self._sealed, []
            waiting, self._waiting = self._waiting, []
            active = [] if self._descriptor is None else [self._descriptor]
            folder_dirty, self._folder_dirty = self._folder_dirty, False
        error: OSError | None = None
        try:
            for descriptor in sealed + active:
                os.fdatasync(descriptor)
            if folder_dirty:
                _fsync(self.folder)
            self._syncing.off()
        except OSError as exc:
            self._syncing.on(exc)
            error = exc
        for descriptor in sealed:
            os.close(descriptor)
        for tell in waiting:
            with suppress(RuntimeError):  # its event loop is closed
                tell(error)

    def _abandon(self) -> None:
        """Close, in a forked child, what is its parent's: the lock ends with the last copy."""
        self._closed = True
        self._guard = threading.Lock()
        for descriptor in (self._lock, self._descriptor, *self._sealed):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor, self._sealed = None, []


def _own_folder(directory: Path, writer: str) -> tuple[Path, int]:
    folder, number = directory / writer, 0
    while (lock := segments.own(folder)) is None:
        number += 1
        folder = directory / f"{writer}.{number}"
    return folder, lock


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()


def _abandon_all() -> None:
    for journal in list(_journals):
        journal._abandon()


os.register_at_fork(after_in_child=_abandon_all)
