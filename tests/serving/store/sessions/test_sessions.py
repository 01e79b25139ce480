"""A session is found by its token until it ends, and the store holds no token."""

from sqlalchemy import select, update

from serving.store import audit
from serving.store.database import Database
from serving.store.sessions import sessions
from serving.store.sessions.tables import SessionRow

HOUR_S = 3600.0


async def rows(db: Database) -> list[dict[str, object]]:
    async with db.reader() as connection:
        found = (await connection.execute(select(SessionRow))).mappings().all()
    return [dict(row) for row in found]


async def pass_by(db: Database, seconds: float) -> None:
    async with db.session() as connection:
        moved = {"expires_at": SessionRow.expires_at - seconds}
        await connection.execute(update(SessionRow).values(moved))


async def test_a_token_leads_to_its_key_until_it_is_over(db: Database) -> None:
    token = await sessions.begin(db, "key_a", HOUR_S)
    assert await sessions.key_of(db, token) == "key_a"
    assert await sessions.key_of(db, token + "x") is None
    await pass_by(db, HOUR_S + 1)
    assert await sessions.key_of(db, token) is None


async def test_the_store_holds_no_token(db: Database) -> None:
    token = await sessions.begin(db, "key_a", HOUR_S)
    assert token not in str(await rows(db))


async def test_an_ended_session_is_gone_and_the_others_stay(db: Database) -> None:
    one, two = [await sessions.begin(db, "key_a", HOUR_S) for _ in range(2)]
    for _ in range(2):
        await sessions.end(db, one)
    assert await sessions.key_of(db, one) is None
    assert await sessions.key_of(db, two) == "key_a"


async def test_what_is_over_goes_when_another_begins(db: Database) -> None:
    await sessions.begin(db, "key_a", HOUR_S)
    await pass_by(db, HOUR_S + 1)
    await sessions.begin(db, "key_b", HOUR_S)
    assert [row["key_id"] for row in await rows(db)] == ["key_b"]


async def test_who_signs_in_is_in_the_audit(db: Database) -> None:
    await sessions.begin(db, "key_a", HOUR_S)
    (entry,) = await audit.of(db, "console")
    assert (entry.key_id, entry.action) == ("key_a", "sign_in")
