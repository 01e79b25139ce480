import asyncio

from sqlalchemy import update

from serving.store import leases
from serving.store.database import Database
from serving.store.tables import LeaseRow

LONG_S = 1000.0


async def expire(db: Database, name: str) -> None:
    async with db.session() as connection:
        await connection.execute(
            update(LeaseRow).where(LeaseRow.name == name).values(expires_at=1.0)
        )


async def test_of_many_at_once_one_gets_it(db: Database, store_url: str) -> None:
    others = [Database(store_url) for _ in range(4)]
    taken = await asyncio.gather(
        *(leases.acquire(o, "care", f"owner-{n}", LONG_S) for n, o in enumerate(others * 5))
    )
    assert [term for term in taken if term is not None] == [1]
    for other in others:
        await other.close()


async def test_a_held_lease_is_given_to_nobody_not_even_its_owner(db: Database) -> None:
    assert await leases.acquire(db, "care", "a", LONG_S) == 1
    assert await leases.acquire(db, "care", "a", LONG_S) is None
    assert await leases.acquire(db, "sales", "b", LONG_S) == 1
    held = await leases.holders(db)
    assert {name: lease.owner for name, lease in held.items()} == {"care": "a", "sales": "b"}
    assert abs(held["care"].expires_at - held["care"].heartbeat_at - LONG_S) < 1e-3


async def test_an_expired_lease_changes_hands_with_a_higher_term(db: Database) -> None:
    assert await leases.acquire(db, "care", "a", LONG_S) == 1
    await expire(db, "care")
    assert await leases.holders(db) == {}
    assert not await leases.renew(db, "care", 1, LONG_S)
    assert await leases.acquire(db, "care", "b", LONG_S) == 2
    assert not await leases.renew(db, "care", 1, LONG_S)
    await leases.release(db, "care", 1)  # the old holder wakes up: it takes nothing away
    assert (await leases.holders(db))["care"].owner == "b"


async def test_a_renewed_lease_lasts_from_then(db: Database) -> None:
    assert await leases.acquire(db, "care", "a", 100) == 1
    before = (await leases.holders(db))["care"]
    assert await leases.renew(db, "care", 1, LONG_S)
    assert (await leases.holders(db))["care"].expires_at > before.expires_at + 800


async def test_a_released_lease_is_free_at_once(db: Database) -> None:
    assert await leases.acquire(db, "care", "a", LONG_S) == 1
    await leases.release(db, "care", 1)
    assert await leases.acquire(db, "care", "b", LONG_S) == 2
