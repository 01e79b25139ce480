"""Tells of a key that is used from a network from which it never was.

On a request's way this is a look into a set; what is not there is written to the store in the
background, and waits there while the store is down. One replica tells what is new, and notes it
once the webhook has taken it: a kill between the two tells twice, with the same key.
"""

import asyncio
import logging
from contextlib import suppress

from serving.alerts import client_address
from serving.asgi import Scope
from serving.config import secrets
from serving.config.limits import Alerts
from serving.errors import SwitchboardError
from serving.observability import webhook
from serving.store import leases
from serving.store.database import Database
from serving.store.networks import networks
from serving.store.networks.networks import KeyNetwork

ACTION = "alert_new_network"
LEASE = "@alerts-networks"  # no line of business can be called so
LEASE_S = 60.0
"""Longer than a try; after one that failed, the pause."""
LOOK_S = 1.0
POST_S = 10.0
DAY_S = 86400.0
SEEN_LIMIT = 100_000
PENDING_LIMIT = 10_000
logger = logging.getLogger(__name__)


class NewNetworks:
    """Notes and tells until it is cancelled.

    Args:
        db: The store.
        alerts: What to tell, and where.
        proxies: Networks of proxies whose `x-forwarded-for` is believed.
        owner: Who tells, as people see it.
        token: What our own proxy sends with the peer's address.
    """

    def __init__(
        self, db: Database, alerts: Alerts, proxies: list[str], owner: str, token: str | None
    ) -> None:
        self._db = db
        self._alerts = alerts
        self._its = alerts.new_network
        self._proxies = client_address.networks(proxies)
        self._owner = owner
        self._token = token
        self._recent: set[tuple[str, tuple[str, bytes, bytes]]] = set()
        self._seen: set[tuple[str, str]] = set()
        self._pending: set[tuple[str, str]] = set()

    def saw(self, key_id: str, scope: Scope) -> None:
        """Take note of a request with a key; no I/O."""
        if self._its is None or not key_id:
            return
        seen = client_address.evidence(scope)
        if (key_id, seen) in self._recent:
            return
        if len(self._pending) >= PENDING_LIMIT:
            return  # its next request is looked at again
        if len(self._recent) >= SEEN_LIMIT:
            self._recent.clear()
        self._recent.add((key_id, seen))
        address = client_address.client(seen, self._token, self._proxies)
        if address is None:
            return
        its = self._its
        pair = key_id, client_address.network(address, its.ipv4_prefix, its.ipv6_prefix)
        if pair not in self._seen:
            self._pending.add(pair)

    async def run(self) -> None:
        """Note and tell once a second; a store that is down is asked again."""
        while self._its is not None:
            with suppress(SwitchboardError):
                await self.note()
                await self.once()
            await asyncio.sleep(LOOK_S)

    async def note(self) -> None:
        """Write what was seen.

        Raises:
            StoreUnavailable: The store does not answer; what is not written waits.
        """
        if self._its is None:
            return
        for pair in list(self._pending):
            await networks.remember(self._db, *pair, self._its.learning_days * DAY_S)
            if len(self._seen) >= SEEN_LIMIT:
                self._seen.clear()
            self._seen.add(pair)
            self._pending.discard(pair)

    async def once(self) -> list[KeyNetwork]:
        """Tell what is new, if no other does; return what was told.

        Raises:
            StoreUnavailable: The store does not answer.
            ConfigError: The address or the secret is not there.
        """
        told: list[KeyNetwork] = []
        if self._its is None or self._alerts.url is None or not await networks.untold(self._db):
            return told
        term = await leases.acquire(self._db, LEASE, self._owner, LEASE_S)
        if term is None:
            return told
        url = secrets.resolve(self._alerts.url, "alerts.url")
        signed = self._alerts.secret
        secret = None if signed is None else secrets.resolve(signed, "alerts.secret")
        for one in await networks.untold(self._db):
            if fault := await _post(url, secret, one):
                logger.warning("%s is used from %s, and %s", one.key_id, one.network, fault)
                return told  # the lease is the pause until the next try
            await networks.told(self._db, one, ACTION)
            told.append(one)
            if not await leases.renew(self._db, LEASE, term, LEASE_S):
                return told
        await leases.release(self._db, LEASE, term)
        return told


async def _post(url: str, secret: str | None, one: KeyNetwork) -> str | None:
    id_ = f"{one.key_id}.{one.network}"
    event = {"event": "new_network", "id": id_, **one.model_dump(exclude={"state"})}
    try:
        async with asyncio.timeout(POST_S):
            return await webhook.post(url, secret, event, key=id_)
    except TimeoutError:
        return f"the webhook takes longer than {POST_S:.0f} s"
