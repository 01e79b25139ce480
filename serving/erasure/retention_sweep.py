"""Deletes what has outlived its line's retention, one replica at a time.

Whoever takes the lease works, renewing it batch by batch, and then keeps it until the next round is
due, so that of many replicas one looks. A killed one's lease ends by itself.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from serving.config.lobs import Lob
from serving.errors import SwitchboardError
from serving.observability import metrics
from serving.store import leases
from serving.store.database import Database
from serving.store.erasure import aging

LEASE = "@retention"  # no line of business can be called so
LEASE_S = 60.0
LOOK_S = 60.0
ROUND_S = 600.0
"""From the end of one round to the begin of the next, over all replicas."""
PAUSE_S = 0.05
"""Between two batches: in SQLite others write then."""
logger = logging.getLogger(__name__)


class RetentionSweep:
    """Sweeps until it is cancelled.

    Args:
        db: The store.
        lobs: The lines of business.
        owner: Who sweeps, as people see it.
    """

    def __init__(self, db: Database, lobs: Mapping[str, Lob], owner: str) -> None:
        self._db = db
        self._owner = owner
        self.configure(lobs)

    def configure(self, lobs: Mapping[str, Lob]) -> None:
        """Keep by another configuration from the next batch on."""
        self._lobs = dict(lobs)

    async def run(self) -> None:
        """Sweep; a store that is down is tried again."""
        while True:
            with suppress(SwitchboardError):
                await self.once()
            await asyncio.sleep(LOOK_S)

    async def once(self, now: float | None = None) -> dict[str, Counter[str]]:
        """Sweep now, if it is due and no other does.

        Args:
            now: Seconds since the epoch; None asks the clock.

        Returns:
            How many rows went, by line and kind.

        Raises:
            StoreUnavailable: The store does not answer; what went before is gone.
        """
        if not any(aging.limits(lob.retention) for lob in self._lobs.values()):
            return {}
        term = await leases.acquire(self._db, LEASE, self._owner, LEASE_S)
        if term is None:
            return {}
        gone: dict[str, Counter[str]] = {}
        for name in sorted(self._lobs):
            while done := await self._batch(name, now):
                gone.setdefault(name, Counter()).update(done)
                for kind, number in done.items():
                    metrics.RETENTION.labels(name, kind).inc(number)
                if not await leases.renew(self._db, LEASE, term, LEASE_S):
                    return gone  # it took too long, and another goes on
                await asyncio.sleep(PAUSE_S)
        if gone:
            logger.info("retention: %s", {name: dict(counts) for name, counts in gone.items()})
        await leases.renew(self._db, LEASE, term, ROUND_S)
        return gone

    async def _batch(self, name: str, now: float | None) -> dict[str, int]:
        lob = self._lobs.get(name)
        before = aging.limits(lob.retention, now) if lob is not None else {}
        return await aging.delete_batch(self._db, name, before) if before else {}
