"""An interaction that was answered a moment ago and is still on its way to the store.

It waits in its replica's journal for a batch, so whoever asks for it waits: milliseconds where
this is that replica, whose drainer is woken, and as long as a batch may take (`journal.batch_s`)
where it is another. An id that only looks fresh costs the longest wait, so that is bounded: in
queries, by pauses that grow, and in callers, by how many of one key wait at once.
"""

import asyncio
import time
from collections import Counter

from serving.auth import ApiKey
from serving.capture import Drainer
from serving.capture.health import Health
from serving.errors import NotFound, RateLimited, StoreUnavailable
from serving.store import interactions
from serving.store.database import Database
from serving.store.records import InteractionRecord

DRAIN_WAIT_S = 3.0
PAUSE_S = (0.02, 0.5)
"""The first pause between two looks, and the longest."""
WAITS_OF_A_KEY = 32


class Arrivals:
    """Looks interactions up, for those that are not there yet with some patience.

    Args:
        db: The store.
        drainer: Brings this replica's.
        health: Whether interactions are still to come.
    """

    def __init__(self, db: Database, drainer: Drainer, health: Health) -> None:
        self._db = db
        self._drainer = drainer
        self._health = health
        self._waiting: Counter[str] = Counter()

    async def get(self, id: str, key: ApiKey) -> InteractionRecord:  # noqa: A002
        """Return an interaction.

        Raises:
            NotFound: There is none of this id.
            RateLimited: Too many requests of this key wait for interactions already.
            StoreUnavailable: It may wait for the store, which was down.
        """
        found = await interactions.get(self._db, id)
        if found is None and is_recent(id):
            found = await self._wait(id, key)
        if found is None:
            if is_recent(id) and self._health.behind:
                raise StoreUnavailable(
                    f"The interaction {id} may wait for the store, which was down. Try again."
                )
            raise NotFound(f"There is no interaction {id[:128]}.", param="id")
        return found

    async def _wait(self, id_: str, key: ApiKey) -> InteractionRecord | None:
        if self._waiting[key.id] >= WAITS_OF_A_KEY:
            raise RateLimited(
                "Too many requests of this key wait for interactions that are not in the store.",
                headers={"retry-after": "1"},
            )
        self._waiting[key.id] += 1
        try:
            pause_s, longest_s = PAUSE_S
            self._drainer.wake()
            deadline = time.monotonic() + DRAIN_WAIT_S
            while (left_s := deadline - time.monotonic()) > 0:
                await asyncio.sleep(min(pause_s, left_s))
                if (found := await interactions.get(self._db, id_)) is not None:
                    return found
                pause_s = min(2 * pause_s, longest_s)
        finally:
            self._waiting[key.id] -= 1
            self._waiting += Counter()  # drops who waits no more
        return None


def is_recent(id: str) -> bool:  # noqa: A002
    """Whether an id that we gave (its first twelve hex digits are milliseconds) is fresh."""
    _, _, tail = id.replace("_", "-").partition("-")
    try:
        age_s = time.time() - int(tail[:12], 16) / 1e3
    except ValueError:
        return False
    return len(tail) == 32 and -5 < age_s < 3600
