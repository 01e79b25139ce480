"""What time does with the review queue, noted: claims lapse, tasks are escalated and expire.

Every replica sweeps; a lease that nobody renews lets one of them work at a time, and each finding
is a statement that compares and sets, so a sweep that is slow repeats nothing.
"""

import asyncio
import logging
from contextlib import suppress

from serving.capture.reviewing import Reviewing
from serving.errors import NotFound, SwitchboardError
from serving.observability import metrics
from serving.store import leases
from serving.store.reviews import queue
from serving.store.reviews.records import EventKind

SWEEP_S = 1.0
LEASE = "@reviews"  # no line of business can be called so
LEASE_S = 10.0
TEACH_EVERY = 15
"""Sweeps between two looks for decisions that are no feedback yet: their handlers teach first."""
logger = logging.getLogger(__name__)


class Sweep:
    """Sweeps until it is cancelled.

    Args:
        reviewing: The queues.
        owner: Who sweeps, as people see it.
    """

    def __init__(self, reviewing: Reviewing, owner: str) -> None:
        self._reviewing = reviewing
        self._owner = owner
        self._lines: set[str] = set()
        self._round = 0

    async def run(self) -> None:
        """Sweep once a second; a store that is down is tried again."""
        while True:
            with suppress(SwitchboardError):
                await self.once()
            await asyncio.sleep(SWEEP_S)

    async def once(self) -> list[EventKind]:
        """Sweep now, if no other does; return what was noted.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        db = self._reviewing.db
        depths = await queue.depths(db)
        self._lines |= depths.keys()
        for lob in self._lines:
            metrics.REVIEW_DEPTH.labels(lob).set(depths.get(lob, 0))
        due = await queue.due(db)
        untaught = await queue.untaught(db) if self._round % TEACH_EVERY == 0 else []
        self._round += 1
        if not due and not untaught:
            return []
        term = await leases.acquire(db, LEASE, self._owner, LEASE_S)
        if term is None:
            return []
        try:
            noted = []
            for id_ in due:
                mine = await queue.advance(db, id_)
                if EventKind.EXPIRED in mine:
                    review = await queue.get(db, id_)
                    metrics.REVIEWS_EXPIRED.labels(review.lob).inc()
                noted += mine
            for review in untaught:
                try:
                    await self._reviewing.teach(review)
                except NotFound:  # its interaction is still on its way
                    continue
                except SwitchboardError as exc:
                    logger.warning("%s cannot be feedback yet: %s", review.id, exc)
            return noted
        finally:
            await leases.release(db, LEASE, term)
