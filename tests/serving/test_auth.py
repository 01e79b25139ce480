import asyncio
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from serving import auth
from serving.auth import ApiKey, KeyRing, Role
from serving.errors import InvalidRequest, NotFound, StoreUnavailable
from serving.store import audit
from serving.store.database import Database
from serving.store.tables import ApiKeyRow, LeaseRow


async def test_a_key_is_shown_once_and_kept_as_a_hash(db: Database) -> None:
    plaintext, key = await auth.create(db, name="ci", roles=["service"], lobs=["care"])
    assert plaintext.startswith("sb-")
    assert len(plaintext) == 46  # 32 bytes
    assert key.prefix == plaintext[:8]
    assert key.hash == auth.hash_key(plaintext) == hashlib.sha256(plaintext.encode()).hexdigest()
    async with db.reader() as connection:
        row = (await connection.execute(select(ApiKeyRow))).mappings().one()
    assert plaintext not in str(dict(row))
    assert await auth.list_keys(db) == [key]
    assert await auth.load_all(db) == {key.hash: key}


async def test_two_keys_are_never_alike(db: Database) -> None:
    made = [await auth.create(db, name="x", roles=["agent"], lobs=["*"]) for _ in range(3)]
    assert len({plaintext for plaintext, _ in made}) == 3
    assert len({key.id for _, key in made}) == 3


@pytest.mark.parametrize(
    "wrong", [{"roles": ["king"]}, {"roles": []}, {"lobs": []}, {"expires_at": float("nan")}]
)
async def test_a_key_that_makes_no_sense_is_not_made(sqlite_db: Database, wrong) -> None:
    with pytest.raises(InvalidRequest):
        await auth.create(sqlite_db, **({"name": "x", "roles": ["agent"], "lobs": ["*"]} | wrong))
    assert await auth.list_keys(sqlite_db) == []


async def test_a_revoked_key_stays_revoked(db: Database) -> None:
    _, key = await auth.create(db, name="ci", roles=["service"], lobs=["*"])
    revoked = await auth.revoke(db, key.id)
    assert revoked.revoked_at is not None
    assert await auth.revoke(db, key.id) == revoked
    assert await auth.load_all(db) == {}
    assert [entry.action for entry in await audit.tail(db)] == ["revoke_key", "create_key"]
    with pytest.raises(NotFound, match="key_none"):
        await auth.revoke(db, "key_none")


async def test_refused_requests_are_one_audit_entry_a_minute_over_all_replicas(
    db: Database,
) -> None:
    first, second = KeyRing(db), KeyRing(db)
    for _ in range(3):
        first.refuse("unknown")
    first.refuse("missing")
    second.refuse("unknown")
    await asyncio.gather(first.note_refused(), second.note_refused())
    await first.note_refused()
    await second.note_refused()
    (entry,) = [one for one in await audit.tail(db) if one.action == "refuse_keys"]
    assert entry.key_id is None
    counted = {name: entry.detail.get(name, 0) for name in ("unknown", "missing")}
    assert counted in ({"unknown": 3, "missing": 1}, {"unknown": 1, "missing": 0})
    async with db.session() as connection:
        minute = {"expires_at": 1.0}
        await connection.execute(update(LeaseRow).values(minute))
    await first.note_refused()
    async with db.session() as connection:
        await connection.execute(update(LeaseRow).values(minute))
    await second.note_refused()
    entries = [one.detail for one in await audit.tail(db) if one.action == "refuse_keys"]
    assert sum(one.get("unknown", 0) for one in entries) == 4, "what waited is not lost"
    assert len(entries) == 2
    assert all(one["since"] <= one["until"] for one in entries)


async def test_without_a_refusal_there_is_no_entry(db: Database) -> None:
    ring = KeyRing(db)
    await ring.note_refused()
    await ring.stop()
    assert await audit.tail(db) == []


def make(**fields) -> ApiKey:
    values = {"id": "key_1", "name": "x", "hash": "h", "prefix": "sb-", "created_at": 0.0}
    return ApiKey(**(values | {"roles": ("agent",), "lobs": ("care",)} | fields))


@pytest.mark.parametrize("role", list(Role))
def test_a_role_allows_itself_and_admin_allows_all(role: Role) -> None:
    assert [other for other in Role if make(roles=[other]).allows(role)] == (
        [role] if role is Role.ADMIN else [role, Role.ADMIN]
    )


def test_a_key_covers_its_lines_of_business() -> None:
    assert make(lobs=["care", "sales"]).allows_lob("sales")
    assert not make(lobs=["care"]).allows_lob("sales")
    assert make(lobs=["*"]).allows_lob("anything")


@given(st.floats(0, 100), st.none() | st.floats(0, 100), st.none() | st.floats(0, 100))
def test_a_key_is_valid_until_it_expires_or_is_revoked(now, expires_at, revoked_at) -> None:
    key = make(expires_at=expires_at, revoked_at=revoked_at)
    assert key.valid(now) == (revoked_at is None and (expires_at is None or now < expires_at))


def test_where_keys_are_off_everybody_may_do_everything() -> None:
    anyone = ApiKey.anonymous()
    assert anyone.id == ""
    assert all(anyone.allows(role) for role in Role)
    assert anyone.allows_lob("care")


@given(st.text() | st.characters(categories=["Cs"]))
def test_any_text_can_be_hashed(text: str) -> None:
    assert len(auth.hash_key(text)) == 64


async def test_the_ring_finds_a_fresh_key_at_once(sqlite_db: Database) -> None:
    ring = KeyRing(sqlite_db, refresh_s=600)
    await ring.start()
    plaintext, key = await auth.create(sqlite_db, name="x", roles=["agent"], lobs=["*"])
    assert ring.lookup(plaintext) is None
    assert await ring.find(plaintext) == key
    assert ring.lookup(plaintext) == key
    later, other = await auth.create(sqlite_db, name="y", roles=["agent"], lobs=["*"])
    assert await ring.find(later) == other
    await ring.stop()


async def test_the_ring_forgets_revoked_and_expired_keys(sqlite_db: Database) -> None:
    soon = time.time() + 0.2
    short, _ = await auth.create(sqlite_db, name="x", roles=["agent"], lobs=["*"], expires_at=soon)
    revoked, key = await auth.create(sqlite_db, name="y", roles=["agent"], lobs=["*"])
    ring = KeyRing(sqlite_db, refresh_s=0.01)
    await ring.start()
    assert ring.lookup(short)
    assert ring.lookup(revoked)
    await auth.revoke(sqlite_db, key.id)
    await asyncio.sleep(0.3)
    assert ring.lookup(short) is None
    assert ring.lookup(revoked) is None
    assert await ring.find(revoked) is None
    await ring.stop()


async def test_guessing_keys_costs_the_store_nothing(sqlite_db: Database, monkeypatch) -> None:
    reads = 0
    load_all = auth.load_all

    async def counted(db: Database) -> dict[str, ApiKey]:
        nonlocal reads
        reads += 1
        return await load_all(db)

    monkeypatch.setattr(auth, "load_all", counted)
    ring = KeyRing(sqlite_db, refresh_s=600)
    guesses = [f"sb-{number:043}" for number in range(1000)]
    found = await asyncio.gather(*(ring.find(guess) for guess in guesses))
    assert set(found) == {None}
    assert reads == 1
    assert await ring.find("not even a key") is None
    assert reads == 1


async def test_the_ring_outlives_an_outage(sqlite_db: Database, monkeypatch) -> None:
    plaintext, key = await auth.create(sqlite_db, name="x", roles=["agent"], lobs=["*"])
    ring = KeyRing(sqlite_db, refresh_s=0.01)
    await ring.start()

    async def down(db: Database) -> dict[str, ApiKey]:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(auth, "load_all", down)
        await asyncio.sleep(0.05)
        assert ring.lookup(plaintext) == key
        assert ring.alarm.since is not None
        with pytest.raises(StoreUnavailable):
            await ring.find("sb-" + "x" * 43)
    other, _ = await auth.create(sqlite_db, name="y", roles=["agent"], lobs=["*"])
    await asyncio.sleep(0.1)
    assert ring.lookup(other)
    assert ring.alarm.since is None
    await ring.stop()


async def test_a_key_is_found_by_its_id_while_it_is_in_force(sqlite_db: Database) -> None:
    _, key = await auth.create(sqlite_db, name="n", roles=["service"], lobs=["care"])
    ring = KeyRing(sqlite_db, refresh_s=600)
    await ring.refresh()
    assert ring.of_id(key.id) == key
    assert ring.of_id("key_other") is None
    await auth.revoke(sqlite_db, key.id)
    await ring.refresh()
    assert ring.of_id(key.id) is None
