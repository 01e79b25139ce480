"""The draining side of the journal."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.capture import rejected, segments
from serving.capture.batching import Batching
from serving.capture.journal import REJECTED, Journal
from serving.capture.segments import Frame
from serving.encryption.sealing import Sealer
from serving.errors import StoreUnavailable, Unavailable
from serving.observability.alarm import Alarm

ADOPT_INTERVAL_S = 1.0
BACKOFF_S = (0.1, 5.0)
_PLAIN = Sealer(None, "journal")

logger = logging.getLogger(__name__)

Sink = Callable[[list[bytes]], Awaitable[None]]


@dataclass(slots=True)
class _Source:
    """A folder that is being drained, and how far that has come; `lock` is None for our own."""

    folder: Path
    lock: int | None = None
    number: int | None = None
    offset: int = 0
    left_bytes: int = 0
    left_frames: int = 0


class Drainer:
    """Moves what is in the journals to the store, oldest first.

    A payload for which the sink raises anything but an outage (`Unavailable`, `OSError`) never
    blocks the rest: it goes to the folder ``rejected``, as a segment of one frame with its reason
    beside it. Once the cause is mended, moving such segments into a new folder beside the others
    has them drained again.

    Args:
        directory: The folder of all journals.
        own: The journal of this process.
        sink: Stores payloads, all or none; storing one again must change nothing.
        batch: How many to store at once at most; so many are stored without further wait.
        wait_s: Longest that a payload of `own` waits for others to be stored with.
        unseal: Opens a payload that was sealed before it was written. Where the key is missing it
            raises `Unavailable`: the payload, and what comes after it, waits as in an outage.
    """

    def __init__(
        self,
        directory: Path | str,
        own: Journal,
        sink: Sink,
        *,
        batch: int = 64,
        wait_s: float = 1.0,
        unseal: Callable[[bytes], bytes] = _PLAIN.open,
    ) -> None:
        self._directory = Path(directory).absolute()
        self._own = own
        self._sink = sink
        self._unseal = unseal
        self._batch = batch
        # A reading takes no more than so many bytes; and half a small journal is for the meantime.
        size_bytes = min(segments.READ_BYTES, own.limit_bytes // 2)
        self._batching = Batching(batch, wait_s, size_bytes)
        self._target = own.appended_bytes  # so far it is drained without further wait
        self._source = _Source(own.folder)
        self._adopted: list[_Source] = []
        self._adopt_at = 0.0
        self._purging = 0  # segments of our own before this one are to go
        self._claims = 0
        self._hurry = asyncio.Event()
        self._moved = asyncio.Event()
        own.on_append = self._note
        self.alarm = Alarm("the store takes no interactions, so they wait on this disk")

    @property
    def backlog_bytes(self) -> int:
        """What is not in the store yet, of this process and of the dead whose work it took over."""
        return self._own.backlog_bytes + sum(source.left_bytes for source in self._adopted)

    @property
    def backlog_frames(self) -> int:
        """How many payloads that is; damage may have cost some of those that were counted."""
        if self.backlog_bytes == 0:
            return 0
        return self._own.backlog_frames + sum(source.left_frames for source in self._adopted)

    @property
    def overdue(self) -> bool:
        """Whether something is not in the store that is no longer meant to wait."""
        left = any(source.left_bytes > 0 for source in self._adopted)
        return left or self._own.drained_bytes < self._target

    @property
    def last_error(self) -> str | None:
        """Why nothing can be stored just now, or None."""
        return self.alarm.reason

    async def run(self) -> None:
        """Drain until cancelled; then only what was stored is forgotten."""
        pause_s = BACKOFF_S[0]
        try:
            while True:
                self._hurry.clear()
                if self._batching.due_in(time.monotonic()) == 0:
                    self._want_all()
                try:
                    moved = await self._step_all()
                except (Unavailable, OSError) as exc:
                    pause_s = self._backoff(exc, pause_s)
                else:
                    if moved or self.backlog_bytes == 0:
                        self.alarm.off()
                    if moved:
                        continue
                    pause_s = self._idle_s()
                await self._pause(pause_s)
        finally:
            for source in self._adopted:
                if source.lock is not None:
                    segments.disown(source.folder, source.lock)
            self._adopted.clear()

    def wake(self) -> None:
        """Have what was appended so far stored now; during an outage the next attempt has it."""
        if self._own.backlog_bytes > 0:
            self._want_all()
            self._look_again()

    async def flush(self, timeout_s: float) -> None:
        """Wait until all that this process has appended so far is in the store.

        Raises:
            StoreUnavailable: It is not, `timeout_s` seconds later.
        """
        target = self._want_all()
        try:
            async with asyncio.timeout(timeout_s):
                while self._own.drained_bytes < target:
                    self._hurry.set()
                    await self._moved.wait()
        except TimeoutError as exc:
            raise StoreUnavailable(
                f"{target - self._own.drained_bytes} bytes of the journal are not in the store "
                f"after {timeout_s:g} s: {self.last_error or 'it is slow'}"
            ) from exc

    async def purge(self) -> None:
        """Have all that journals hold now stored or dropped, and their segments removed.

        It waits out an outage. What is appended meanwhile may stay.
        """
        self._purging = self._own.seal()
        self._want_all()
        claims, self._adopt_at = self._claims, 0.0
        while self._claims == claims or self._adopted or await asyncio.to_thread(self._has_old):
            self._hurry.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(BACKOFF_S[0]):
                    await self._moved.wait()
        self._purging = 0

    def _has_old(self) -> bool:
        numbers = segments.segment_numbers(self._own.folder)
        return any(number < self._purging for number in numbers)

    async def _step_all(self) -> bool:
        """Move a batch from each folder; return whether there may be more."""
        moved = False
        behind = self._own.drained_bytes < self._target
        if behind or (self._purging and await asyncio.to_thread(self._has_old)):
            moved = await self._step(self._source)
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + ADOPT_INTERVAL_S
            self._adopted += await asyncio.to_thread(self._claim)
            self._claims += 1
        for source in list(self._adopted):
            if await self._step(source):
                moved = True
            elif source.number is None and source.lock is not None:
                self._adopted.remove(source)
                await asyncio.to_thread(segments.disown, source.folder, source.lock)
        return moved

    async def _step(self, source: _Source) -> bool:
        """Move one batch; return whether anything moved."""
        if source.number is None:
            numbers = await asyncio.to_thread(segments.segment_numbers, source.folder)
            if not numbers:
                return False
            source.number, source.offset = numbers[0], 0
        sealed = source.lock is not None or source.number < self._own.segment
        path = segments.segment_path(source.folder, source.number)
        found = await asyncio.to_thread(
            segments.read, path, source.offset, self._batch, sealed=sealed
        )
        if found.lost_bytes:
            logger.warning("%s: %d torn bytes are dropped", path, found.lost_bytes)
        if found.frames:
            await self._store(path, found.frames)
        size, source.offset = found.end - source.offset, found.end
        if found.done:
            await asyncio.to_thread(path.unlink)
            source.number = None
        if source.lock is None:
            self._own.drained(size, len(found.frames))
        else:
            source.left_bytes -= size
            source.left_frames -= len(found.frames)
        self._moved.set()
        self._moved = asyncio.Event()
        return size > 0 or found.done

    async def _store(self, path: Path, frames: list[Frame]) -> None:
        try:
            await self._sink([self._unseal(frame.payload) for frame in frames])
        except (Unavailable, OSError):
            raise
        except Exception as exc:
            if len(frames) == 1:
                logger.exception("%s: a payload is set aside", path)
                await asyncio.to_thread(rejected.set_aside, path, frames[0], exc)
                return
            half = len(frames) // 2
            await self._store(path, frames[:half])
            await self._store(path, frames[half:])

    def _claim(self) -> list[_Source]:
        """Take the folders whose writers are dead."""
        taken = {self._own.folder.name, REJECTED, *(source.folder.name for source in self._adopted)}
        claimed = []
        for entry in list(os.scandir(self._directory)):
            if entry.name in taken or not entry.is_dir(follow_symlinks=False):
                continue
            folder = Path(entry.path)
            try:
                numbers = segments.segment_numbers(folder)
                if not numbers and not (folder / "lock").exists():
                    continue
                lock = segments.own(folder)
            except OSError as exc:
                logger.warning("The journal %s cannot be read: %s", folder, exc)
                continue
            if lock is None:
                continue
            paths = [segments.segment_path(folder, n) for n in segments.segment_numbers(folder)]
            size = sum(path.stat().st_size for path in paths)
            frames = sum(map(segments.count, paths))
            logger.info("The journal %s has no writer: %d bytes are drained", folder, size)
            claimed.append(_Source(folder, lock, left_bytes=size, left_frames=frames))
        return claimed

    def _backoff(self, error: Exception, pause_s: float) -> float:
        if self.alarm.since is None:
            pause_s = BACKOFF_S[0] / 2
        self.alarm.on(error)
        return min(2 * pause_s, BACKOFF_S[1])

    def _note(self, size: int) -> None:
        if self._batching.add(size, time.monotonic()):
            self._look_again()

    def _look_again(self) -> None:
        if self.alarm.since is None:  # or each new answer would try a store that is down
            self._hurry.set()

    def _want_all(self) -> int:
        self._batching.clear()
        self._target = self._own.appended_bytes
        return self._target

    def _idle_s(self) -> float:
        """Seconds until there is something to do that no event tells of."""
        now = time.monotonic()
        due_s = self._batching.due_in(now)
        adopt_s = max(0.0, self._adopt_at - now)
        return adopt_s if due_s is None else min(adopt_s, due_s)

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hurry.wait()
