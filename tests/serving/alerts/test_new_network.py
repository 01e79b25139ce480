"""A key that is used from a new network is told once; the store's outage fails no request."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from serving.alerts.client_address import PEER
from serving.alerts.new_network import ACTION, LEASE, NewNetworks
from serving.config.limits import Alerts
from serving.config.settings import Settings
from serving.errors import StoreUnavailable
from serving.observability.webhook import IDEMPOTENCY, SIGNATURE, sign
from serving.store import audit
from serving.store.database import Database
from serving.store.networks import networks
from tests.serving.alerts.test_client_address import scope
from tests.serving.store.networks.test_networks import age
from tests.serving.store.test_leases import expire
from tests.webhook_receiver import receiving


def alerts(**its: Any) -> Alerts:
    named = {"url": "${ALERTS_URL}", "secret": "${ALERTS_SECRET}", "new_network": its}
    return Alerts.model_validate(named)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_SECRET", "s3cret")


def watching(db: Database, name: str = "a", **its: Any) -> NewNetworks:
    return NewNetworks(db, alerts(**its), ["10.0.0.0/8"], name, "t0ken")


async def test_one_replica_tells_once_of_a_key_in_a_new_network(
    db: Database, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Database(store_url)
    both = [watching(db), watching(other, "b")]
    for one in both:
        one.saw("key_a", scope("192.0.2.7"))
        await one.note()
    await age(db, 8)
    with receiving() as got:
        monkeypatch.setenv("ALERTS_URL", got.url)
        for one in both:
            one.saw("key_a", scope("192.0.2.99"))  # the network that it learned
            one.saw("key_a", scope("203.0.113.5"))
            one.saw("key_a", scope("203.0.113.6"))
            one.saw("", scope("198.51.100.1"))  # keys are off
            await one.note()
        told = await asyncio.gather(*(one.once() for one in both))
        assert [one.network for each in told for one in each] == ["203.0.113.0/24"]
        for one in both:
            await expire(db, LEASE)
            assert await one.once() == []
    ((headers, body),) = got.posts
    said = json.loads(body)
    assert (said["event"], said["key_id"], said["network"]) == (
        *("new_network", "key_a", "203.0.113.0/24"),
    )
    assert headers[IDEMPOTENCY] == said["id"] == "key_a.203.0.113.0/24"
    assert headers[SIGNATURE] == sign("s3cret", body)
    assert b"203.0.113.5" not in body
    assert len(await audit.about(db, "key_a", ACTION)) == 1
    await other.close()


async def test_what_the_webhook_did_not_take_is_told_after_a_pause(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await networks.remember(db, "key_a", "192.0.2.0/24", 0)
    await age(db, 1)
    watch = watching(db, learning_days=0)
    watch.saw("key_a", scope("203.0.113.5"))
    await watch.note()
    with receiving(status=500) as down:
        monkeypatch.setenv("ALERTS_URL", down.url)
        assert await watch.once() == []
        assert await watch.once() == []
    assert len(down.posts) == 1
    assert "key_a is used from 203.0.113.0/24, and the webhook answers 500" in caplog.messages
    await expire(db, LEASE)
    with receiving() as got:
        monkeypatch.setenv("ALERTS_URL", got.url)
        assert [one.key_id for one in await watch.once()] == ["key_a"]
    assert [headers[IDEMPOTENCY] for headers, _ in got.posts + down.posts] == [
        "key_a.203.0.113.0/24"
    ] * 2


async def test_what_was_seen_while_the_store_was_down_waits(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watching(sqlite_db)

    async def down(*_: Any) -> bool:
        raise StoreUnavailable("The store does not answer. Try again.")

    with monkeypatch.context() as broken:
        broken.setattr(networks, "remember", down)
        watch.saw("key_a", scope("192.0.2.7"))
        with pytest.raises(StoreUnavailable):
            await watch.note()
    await watch.note()
    await age(sqlite_db, 8)
    watch.saw("key_a", scope("203.0.113.5"))
    await watch.note()
    assert [one.network for one in await networks.untold(sqlite_db)] == ["203.0.113.0/24"]


async def test_alerts_are_off_by_default(db: Database) -> None:
    off = Settings.model_validate({"model": "m", "lobs": {}})
    watch = NewNetworks(db, off.alerts, off.http.trusted_proxies, "a", None)
    watch.saw("key_a", scope("192.0.2.7"))
    await watch.run()  # ends at once
    await watch.note()
    assert await watch.once() == []


def test_a_proxys_word_is_taken_with_its_token() -> None:
    watch = NewNetworks(None, alerts(), [], "a", "t0ken")  # type: ignore[arg-type]
    watch.saw("key_a", scope("127.0.0.1", (PEER, "t0ken,203.0.113.5")))
    watch.saw("key_a", scope("127.0.0.1", (PEER, "forged,198.51.100.1")))
    assert watch._pending == {("key_a", "203.0.113.0/24"), ("key_a", "127.0.0.0/24")}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"alerts": {"new_network": {}}}, "new_network: needs url"),
        ({"alerts": {"url": "${A}", "new_network": {"learning": 3}}}, "new_network.learning"),
        ({"alerts": {"url": "${A}", "new_network": {"ipv4_prefix": 0}}}, "ipv4_prefix"),
        ({"http": {"trusted_proxies": ["10.0.0.1/8"]}}, "host bits set"),
        ({"http": {"trusted_proxies": ["balancer"]}}, "http.trusted_proxies.0"),
    ],
)
def test_a_wrong_key_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate({"model": "m", "lobs": {}} | given)
