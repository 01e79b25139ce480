"""Tells of a key that reads many conversations: by the audit, so over all replicas.

One replica looks each minute. A key is told of once an hour; the audit's entry of that is written
once the webhook has taken it, so a kill between the two tells twice rather than never.
"""

import asyncio
import logging
import time
from contextlib import suppress

from sqlalchemy import func, select

from serving.config import secrets
from serving.config.limits import Alerts
from serving.errors import SwitchboardError
from serving.observability import webhook
from serving.store import audit, leases
from serving.store.database import Database
from serving.store.tables import AuditRow

READS = ("read_interaction", "read_review")
ACTION = "alert_bulk_reads"
LEASE = "@alerts"  # no line of business can be called so
LOOK_S = 60.0
HOUR_S = 3600.0
logger = logging.getLogger(__name__)


class BulkReads:
    """Looks until it is cancelled.

    Args:
        db: The store.
        alerts: What to tell, and where.
        owner: Who looks, as people see it.
    """

    def __init__(self, db: Database, alerts: Alerts, owner: str) -> None:
        self._db = db
        self._alerts = alerts
        self._owner = owner
        self._before = 0
        """Up to this number the audit's entries are older than an hour."""

    async def run(self) -> None:
        """Look once a minute; a store that is down is asked again."""
        while self._alerts.bulk_reads_per_hour is not None:
            with suppress(SwitchboardError):
                await self.once()
            await asyncio.sleep(LOOK_S)

    async def once(self) -> list[str]:
        """Look now, unless another did within a minute; return the keys that were told of.

        Raises:
            StoreUnavailable: The store does not answer.
            ConfigError: The address or the secret is not there.
        """
        limit = self._alerts.bulk_reads_per_hour
        if limit is None or self._alerts.url is None:
            return []
        # Not given back: of many replicas one looks a minute.
        if await leases.acquire(self._db, LEASE, self._owner, LOOK_S * 0.9) is None:
            return []
        url = secrets.resolve(self._alerts.url, "alerts.url")
        signed = self._alerts.secret
        secret = None if signed is None else secrets.resolve(signed, "alerts.secret")
        since, told = time.time() - HOUR_S, []
        for key_id, reads in (await self._many(since, limit)).items():
            last = await audit.about(self._db, key_id, ACTION, 1)
            if last and last[0].created_at >= since:
                continue
            detail = {"reads": reads, "limit": limit, "seconds": HOUR_S}
            event = {"event": "bulk_reads", "key_id": key_id, **detail}
            if fault := await webhook.post(url, secret, event):
                logger.warning("%s read %d in an hour, and %s", key_id, reads, fault)
                continue
            await audit.write(self._db, None, ACTION, key_id, detail)
            told.append(key_id)
        return told

    async def _many(self, since: float, limit: int) -> dict[str, int]:
        """The keys with more reads than that since then."""
        recent = (AuditRow.id > self._before) & (AuditRow.created_at >= since)
        mine = recent & AuditRow.action.in_(READS) & AuditRow.key_id.is_not(None)
        counted = select(AuditRow.key_id, func.count()).where(mine).group_by(AuditRow.key_id)
        async with self._db.reader() as connection:
            first = (await connection.execute(select(func.min(AuditRow.id)).where(recent))).scalar()
            rows = (await connection.execute(counted.having(func.count() > limit))).all()
        self._before = self._before if first is None else first - 1
        return {key_id: reads for key_id, reads in rows if key_id is not None}
