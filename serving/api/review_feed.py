"""The review queue's events, for those who wait for them: one look a replica, however many wait."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import orjson

from serving.store.database import Database
from serving.store.reviews import feed, queue
from serving.store.reviews.records import ReviewEvent

T = TypeVar("T")
LOOK_S = 0.25
STREAM_S = 30.0
"""A stream ends after so long, so that a replica can stop; its client resumes by itself."""
PING_S = 10.0
PING = b": still here\n\n"
RETRY = b"retry: 1000\n\n"


class ReviewFeed:
    """Tells waiters when there are new events.

    Args:
        db: The store.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._look: asyncio.Task[int] | None = None

    async def beyond(self, number: int, wait_s: float) -> bool:
        """Wait for an event after the one of this number; whether there is one.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        end = time.monotonic() + wait_s
        while await self.last() <= number:
            left_s = end - time.monotonic()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(LOOK_S, left_s))
        return True

    async def last(self) -> int:
        """Return the last event's number; who asks at once shares one query."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(feed.last(self._db))
        return await asyncio.shield(self._look)

    async def until(
        self, look: Callable[[], Awaitable[T | None]], wait_s: float
    ) -> tuple[T | None, int]:
        """Look again after each event until something is found or the time is over.

        Args:
            look: What to look for; None or empty: not yet.
            wait_s: The longest wait.

        Returns:
            What was found last, and the number of an event up to which that look saw all.
        """
        end = time.monotonic() + wait_s
        while True:
            seen = await self.last()
            found = await look()
            left_s = end - time.monotonic()
            if found or left_s <= 0:
                return found, seen
            await self.beyond(seen, left_s)

    async def events(self, after: int, lobs: tuple[str, ...] | None) -> AsyncIterator[bytes]:
        """Yield events as a browser's EventSource reads them, until `STREAM_S` have passed.

        Args:
            after: The last that the reader has seen.
            lobs: Of these lines; None: of all.
        """
        yield RETRY
        end = time.monotonic() + STREAM_S
        while (left_s := end - time.monotonic()) > 0:
            if not await self.beyond(after, min(PING_S, left_s)):
                yield PING
                continue
            seen = await self.last()
            found = await feed.since(self._db, after, lobs)
            for event in found:
                yield _written(event)
            # Below `seen` nothing is to come; other lines' events are not read again. An event may
            # have come between the two looks, and is not sent twice.
            last = found[-1].number if found else after
            after = last if len(found) == queue.PAGE else max(seen, last)


def _written(event: ReviewEvent) -> bytes:
    data = event.model_dump(mode="json", exclude={"number"})
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        event.number,
        event.kind.value.encode(),
        orjson.dumps(data),
    )
