"""The chain of the audit: one order under concurrency, and whatever is changed is found."""

import asyncio
from typing import Any

import pytest
from alembic import command
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, update

from serving.store import audit
from serving.store.audit import GENESIS, Head
from serving.store.database import Database
from serving.store.erasure.tables import AuditHead
from serving.store.migrations.upgrade import config
from serving.store.records import AuditEntry
from serving.store.tables import AuditRow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)  # fmt: skip


async def test_concurrent_appends_keep_one_chain(db: Database) -> None:
    async def some(who: int) -> None:
        for number in range(10):
            await audit.write(db, f"key_{who}", "act", str(number), {"ü": [1.5, None, "\u2028"]})

    await asyncio.gather(*(some(who) for who in range(8)))
    end, broken = await audit.verify(db)
    assert broken is None
    assert end == await audit.head(db)
    assert end.number == 80


async def test_an_act_that_is_rolled_back_leaves_no_gap(db: Database) -> None:
    async def undone() -> None:
        async with db.session() as connection:
            await audit.append(connection, None, "act", "undone", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await undone()
    await audit.write(db, None, "act", "done", {})
    assert (await audit.verify(db))[0].number == 1


async def test_the_hash_is_of_what_the_store_keeps(db: Database) -> None:
    await audit.write(db, None, "act", "t", {"nan": float("nan"), "big": 2**70, "half": "\ud800"})
    assert (await audit.verify(db))[1] is None


@pytest.mark.parametrize("kind", ["changed", "removed", "last", "swapped", "all"])
async def test_tampering_is_found_and_named(db: Database, kind: str) -> None:
    for number in range(5):
        await audit.write(db, None, "act", f"t{number}", {"n": number})
    async with db.session() as connection:
        match kind:
            case "changed":
                change = update(AuditRow).where(AuditRow.id == 3).values(detail={"n": 9})
                await connection.execute(change)
            case "removed":
                await connection.execute(delete(AuditRow).where(AuditRow.id == 3))
            case "last":
                await connection.execute(delete(AuditRow).where(AuditRow.id == 5))
            case "swapped":
                for old, new in ((3, 99), (4, 3), (99, 4)):
                    change = update(AuditRow).where(AuditRow.id == old).values(id=new)
                    await connection.execute(change)
            case "all":
                await connection.execute(delete(AuditRow))
    _, broken = await audit.verify(db)
    assert broken is not None
    expected = {"last": 5, "all": 1}.get(kind, 3)
    assert broken.number == expected
    assert str(expected) in broken.reason


def chain(details: list[dict[str, Any]]) -> list[AuditEntry]:
    entries, previous = [], GENESIS
    for number, detail in enumerate(details, 1):
        content = {
            "id": number,
            "created_at": float(number),
            "key_id": None,
            "action": "act",
            "target": "t",
            "detail": detail,
        }
        previous = audit.chained(previous, content)
        entries.append(AuditEntry.model_validate({**content, "hash": previous}))
    return entries


@given(
    st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON), min_size=1, max_size=8),
    st.data(),
)
def test_any_chain_holds_and_no_entry_can_be_taken_out_moved_or_changed(
    details: list[dict[str, Any]], data: st.DataObject
) -> None:
    entries = chain(details)
    head = Head(len(entries), entries[-1].hash)
    assert audit.first_broken(entries) == (head, None)
    at = data.draw(st.integers(0, len(entries) - 1))
    without = entries[:at] + entries[at + 1 :]
    assert audit.first_broken(without)[0] != head
    other = entries[at].model_copy(update={"target": "another"})
    assert audit.first_broken([*entries[:at], other, *entries[at + 1 :]])[1] is not None
    order = data.draw(st.permutations(entries))
    if order != entries:
        assert audit.first_broken(order)[1] is not None


def _downgrade(connection: Connection) -> None:
    """Bring the tables to what they were before the chain."""
    before = config()
    before.attributes["connection"] = connection
    command.downgrade(before, "0010")


async def test_entries_from_before_the_chain_are_chained(empty_url: str) -> None:
    db = Database(empty_url)
    await db.open()
    for number in range(4):
        await audit.write(db, "key_1", "act", f"t{number}", {"n": number, "x": 0.1})
    async with db.session() as connection:
        await connection.execute(delete(AuditRow).where(AuditRow.id == 2))
        await connection.run_sync(_downgrade)
    await db.open()
    await audit.write(db, None, "act", "new", {})
    end, broken = await audit.verify(db)
    assert (end.number, broken) == (4, None)
    assert [entry.target for entry in await audit.tail(db)] == ["new", "t3", "t2", "t0"]
    await db.close()


async def test_the_head_of_an_empty_audit_is_the_beginning(db: Database) -> None:
    assert await audit.verify(db) == (Head(0, GENESIS), None)
    async with db.session() as connection:
        await connection.execute(update(AuditHead).values(number=1))
    assert (await audit.verify(db))[1] is not None
