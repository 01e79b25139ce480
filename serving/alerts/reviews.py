"""Tells a line's people of its review queue, by the line's webhook.

Beside the sweep, not in it, and each line by itself: a webhook that is slow or down holds up
nothing else. Of many replicas one tells a line at a time, by a lease, in the order of the events.
What the webhook did not take is tried again after a pause that doubles, during which the lease is
kept; what it took is noted after that, so it is told at least once, each time with the same key.
"""

import asyncio
import logging
from collections.abc import Mapping

from serving.config import secrets
from serving.config.lobs import Lob
from serving.config.reviews import Webhook
from serving.errors import ConfigError, SwitchboardError
from serving.observability import metrics, webhook
from serving.observability.alarm import Alarm
from serving.store import leases
from serving.store.database import Database
from serving.store.reviews import outbox
from serving.store.reviews.outbox import Notice
from serving.store.reviews.records import EventKind

LEASE = "@reviews-webhook:"  # no line of business can be called so
LEASE_S = 20.0
LOOK_S = 1.0
POST_S = 10.0
"""The longest that one try may take; less than the lease."""
PAUSE_LIMIT_S = 60.0
logger = logging.getLogger(__name__)


class ReviewNotices:
    """Tells until it is cancelled.

    Args:
        db: The store.
        lobs: The lines of business.
        owner: Who tells, as people see it.
    """

    def __init__(self, db: Database, lobs: Mapping[str, Lob], owner: str) -> None:
        self._db = db
        self._owner = owner
        self._begun: set[str] = set()
        self._failures: dict[str, int] = {}
        self._alarms: dict[str, Alarm] = {}
        self.configure(lobs)

    def configure(self, lobs: Mapping[str, Lob]) -> None:
        """Tell by another configuration from the next event on."""
        self._hooks = {
            name: lob.reviews.webhook
            for name, lob in lobs.items()
            if lob.reviews is not None and lob.reviews.webhook is not None
        }

    async def run(self) -> None:
        """Look once a second for each line; a store that is down is asked again."""
        telling: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for lob in self._hooks:
                    if lob not in telling or telling[lob].done():
                        telling[lob] = asyncio.create_task(self._tell(lob))
                await asyncio.sleep(LOOK_S)
        finally:
            for task in telling.values():
                task.cancel()
            await asyncio.gather(*telling.values(), return_exceptions=True)

    async def _tell(self, lob: str) -> None:
        try:
            await self.once(lob)
        except SwitchboardError as exc:
            logger.debug("%s: %s", lob, exc)  # the sweep and the health page say it
        except Exception:
            logger.exception("%s: its review webhook", lob)

    async def once(self, lob: str) -> list[EventKind]:
        """Tell a line's webhook what it has not taken yet, if no other does; return what it took.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        hook, taken = self._hooks.get(lob), list[EventKind]()
        if hook is None:
            return taken
        if lob not in self._begun:
            await outbox.begin(self._db, lob)
            self._begun.add(lob)
        if await outbox.waiting(self._db, lob, hook.events) is None:
            return taken
        name = LEASE + lob
        term = await leases.acquire(self._db, name, self._owner, LEASE_S)
        if term is None:
            return taken
        while (notice := await outbox.waiting(self._db, lob, hook.events)) is not None:
            if fault := await _post(hook, notice):
                metrics.REVIEW_WEBHOOK.labels(lob, "failed").inc()
                self._alarm(lob).on(fault)
                failures = self._failures[lob] = self._failures.get(lob, 0) + 1
                await leases.renew(self._db, name, term, pause_s(failures))
                return taken
            await outbox.told(self._db, lob, notice.number)
            metrics.REVIEW_WEBHOOK.labels(lob, "taken").inc()
            taken.append(notice.kind)
            self._failures.pop(lob, None)
            self._alarm(lob).off()
            if not await leases.renew(self._db, name, term, LEASE_S):
                return taken  # it took so long that another goes on
        await leases.release(self._db, name, term)
        return taken

    def _alarm(self, lob: str) -> Alarm:
        return self._alarms.setdefault(lob, Alarm(f"{lob}: nobody is told of its reviews"))


def pause_s(failures: int) -> float:
    """Seconds until the next try, after so many that failed in a row."""
    return min(2.0 ** min(failures, 10), PAUSE_LIMIT_S)


def said(notice: Notice) -> dict[str, object]:
    """Return what is posted; `id` is the same in each try."""
    return {
        "event": f"review_{notice.kind}",
        "id": f"{notice.review_id}.{notice.kind}",
        **notice.model_dump(mode="json", exclude={"number", "kind"}),
    }


async def _post(hook: Webhook, notice: Notice) -> str | None:
    """Send one event; None if it was taken, else what went wrong."""
    key = f"lobs.{notice.lob}.reviews.webhook"
    event = said(notice)
    try:
        url = secrets.resolve(hook.url, f"{key}.url")
        secret = None if hook.secret is None else secrets.resolve(hook.secret, f"{key}.secret")
        async with asyncio.timeout(POST_S):
            return await webhook.post(url, secret, event, key=str(event["id"]))
    except ConfigError as exc:
        return exc.message
    except TimeoutError:
        return f"the webhook takes longer than {POST_S:.0f} s"
