"""Work under a lease: renewed while the work lasts, given back after it, and the work stopped
should the lease be lost.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from serving.errors import Conflict, StoreUnavailable
from serving.store import leases
from serving.store.database import Database

BEATS = 3
"""Renewals in the time that a lease lasts."""


@asynccontextmanager
async def held(db: Database, name: str, owner: str, lease_s: float) -> AsyncIterator[int | None]:
    """Hold a lease while the block runs.

    Args:
        db: The store.
        name: What is worked on.
        owner: Who works; shown to people.
        lease_s: Seconds of silence after which another may take it.

    Yields:
        The lease's term; None if another holds it.

    Raises:
        Conflict: The lease was lost while the block ran; the block was cancelled.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    term = await leases.acquire(db, name, owner, lease_s)
    if term is None:
        yield None
        return
    work = asyncio.current_task()
    lost = False

    async def beat() -> None:
        nonlocal lost
        sure_until = begin + lease_s
        while True:
            await asyncio.sleep(lease_s / BEATS)
            asked = clock()
            try:
                async with asyncio.timeout_at(sure_until):
                    kept = await leases.renew(db, name, term, lease_s)
            except (StoreUnavailable, TimeoutError):
                kept = clock() < sure_until
            else:
                sure_until = asked + lease_s
            if not kept:
                lost = True
                if work is not None:
                    work.cancel()
                return

    beating = asyncio.create_task(beat())
    try:
        yield term
    except asyncio.CancelledError:
        if lost and work is not None:
            work.uncancel()
            raise Conflict(f"the lease on {name} was lost") from None
        raise
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        if not lost:
            with suppress(StoreUnavailable):  # then it expires
                await leases.release(db, name, term)
