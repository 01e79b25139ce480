"""A key's first days are learned; what comes later is new until it was told."""

import asyncio

import pytest
from sqlalchemy import update

from serving.store import audit
from serving.store.database import Database
from serving.store.networks import networks
from serving.store.networks.networks import State, remember, told, untold
from serving.store.networks.tables import KeyNetworkRow

DAY_S = 86400.0


async def age(db: Database, days: float) -> None:
    """Let days pass for all that is there."""
    async with db.session() as connection:
        moved = {"first_seen": KeyNetworkRow.first_seen - days * DAY_S}
        await connection.execute(update(KeyNetworkRow).values(moved))


async def test_what_comes_after_the_learning_period_is_new_once(db: Database) -> None:
    assert not await remember(db, "key_a", "192.0.2.0/24", 7 * DAY_S)
    await age(db, 3)
    assert not await remember(db, "key_a", "198.51.100.0/24", 7 * DAY_S)
    assert await untold(db) == []
    await age(db, 5)
    assert await remember(db, "key_a", "203.0.113.0/24", 7 * DAY_S)
    assert not await remember(db, "key_a", "203.0.113.0/24", 7 * DAY_S)
    assert not await remember(db, "key_a", "192.0.2.0/24", 7 * DAY_S), "it was learned"
    assert not await remember(db, "key_b", "203.0.113.0/24", 7 * DAY_S), "another key learns"
    (new,) = await untold(db)
    assert (new.key_id, new.network, new.state) == ("key_a", "203.0.113.0/24", State.NEW)
    for _ in range(2):
        await told(db, new, "alert_new_network")
    assert await untold(db) == []
    (entry,) = await audit.about(db, "key_a", "alert_new_network")
    assert entry.detail == {"network": "203.0.113.0/24", "first_seen": new.first_seen}


async def test_two_replicas_that_see_it_at_once_make_one_of_it(
    db: Database, store_url: str
) -> None:
    await remember(db, "key_a", "192.0.2.0/24", 0)
    await age(db, 1)
    other = Database(store_url)
    both = [remember(one, "key_a", "203.0.113.0/24", 0) for one in (db, other)]
    assert sorted(await asyncio.gather(*both)) == [False, True]
    assert len(await untold(db)) == 1
    await other.close()


async def test_a_key_that_is_everywhere_fills_no_table(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "LIMIT", 2)
    await remember(db, "key_a", "192.0.2.0/24", 0)
    await age(db, 1)
    assert await remember(db, "key_a", "198.51.100.0/24", 0)
    assert not await remember(db, "key_a", "203.0.113.0/24", 0)
    assert len(await untold(db)) == 1
