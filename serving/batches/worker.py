"""A replica's share of the batches: each is worked on under a lease, by one replica at a time.

A worker that dies lets its leases run out, and another replica, or the next start, goes on.
"""

import asyncio
import logging
from contextlib import suppress
from functools import partial

from serving.admission.fair_queue import Admission
from serving.batches.run import BatchRun
from serving.errors import SwitchboardError
from serving.files.upload import Files
from serving.gateway.app import Gateway
from serving.store import leases
from serving.store.files import batches

POLL_S = 1.0
LEASE_S = 15.0
RENEW_S = 3.0
AT_ONCE = 4
"""Batches that a replica works on at once; those that are cancelled come on top."""
SWEEP_EVERY = 600
"""Looks between two sweeps of files that a crash left half written."""
logger = logging.getLogger(__name__)


class Worker:
    """Works on batches until it is stopped.

    Args:
        files: The files and the store.
        gateway: What answers lines.
        admission: Of whose places at most half are a batch's.
        owner: Who works, as people see it.
    """

    def __init__(self, files: Files, gateway: Gateway, admission: Admission, owner: str) -> None:
        self._files = files
        self._db = files.db
        self._owner = owner
        self._run = BatchRun(
            files, gateway.line, gateway.caller, lambda: max(1, admission.places // 2)
        )
        self._working: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looks = 0

    def start(self) -> None:
        """Look for batches from now on."""
        self._looking = asyncio.create_task(self._look_on())

    async def stop(self) -> None:
        """Take no more, cut the lines that are asked, and give the leases back."""
        tasks = [*self._working.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._looking = None

    async def _look_on(self) -> None:
        while True:
            try:
                await self.look()
            except SwitchboardError:
                logger.debug("the store does not answer", exc_info=True)
            except Exception:  # of whatever holds the files; the next look may do
                logger.exception("looking for batches failed")
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """Take on what nobody works on.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        if self._looks % SWEEP_EVERY == 0:
            await self._files.sweep()
        self._looks += 1
        waiting = await batches.unfinished(self._db)
        waiting = {id_: status for id_, status in waiting.items() if id_ not in self._working}
        if not waiting:
            return
        held = await leases.holders(self._db)
        for id_, status in waiting.items():
            if batches.lease(id_) in held:
                continue
            if len(self._working) >= AT_ONCE and status != "cancelling":
                continue
            term = await leases.acquire(self._db, batches.lease(id_), self._owner, LEASE_S)
            if term is not None:
                task = asyncio.create_task(self._work(id_, term))
                self._working[id_] = task
                task.add_done_callback(partial(self._ended, id_))

    def _ended(self, id_: str, _: asyncio.Task[None]) -> None:
        self._working.pop(id_, None)

    async def _work(self, id_: str, term: int) -> None:
        """Run a batch for as long as its lease is ours."""
        running = asyncio.create_task(self._run.run(id_))
        name = batches.lease(id_)
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=RENEW_S)
                if not running.done() and not await leases.renew(self._db, name, term, LEASE_S):
                    return
            running.result()
        except SwitchboardError as exc:
            logger.warning("the batch %s is tried again: %s", id_, exc)
        except Exception:
            logger.exception("the batch %s is tried again", id_)
        finally:
            running.cancel()
            await asyncio.wait({running})
            with suppress(SwitchboardError):
                await leases.release(self._db, name, term)
