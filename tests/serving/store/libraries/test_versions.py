"""Each import is a version of its own; the newest is live until another is chosen."""

import pytest

from serving.errors import NotFound
from serving.store import audit
from serving.store.database import Database
from serving.store.libraries import versions
from serving.store.libraries.versions import Entry, Kind

OLD = [Entry(id="a", title="Refunds", text="Within 30 days.", url="https://kb/a")]
NEW = [
    Entry(id="b", title="Shipping", text="Three days.", tags=["parcel"], agent="kim"),
    Entry(id="a", title="Refunds", text="Within 14 days."),
]


async def test_an_import_is_a_new_version_and_what_was_imported_before_stays(db: Database) -> None:
    first = await versions.add(db, "care", Kind.KNOWLEDGE, OLD, "old.md")
    second = await versions.add(db, "care", Kind.KNOWLEDGE, NEW, "new.md")
    assert (first.number, first.live, first.entries, first.source) == (1, True, 1, "old.md")
    assert (second.number, second.live, second.entries) == (2, True, 2)
    assert await versions.entries(db, "care", Kind.KNOWLEDGE, 1) == OLD
    assert await versions.entries(db, "care", Kind.KNOWLEDGE, 2) == NEW
    known = await versions.versions(db, Kind.KNOWLEDGE, "care")
    assert [(one.number, one.live) for one in known] == [(2, True), (1, False)]


async def test_lines_and_kinds_count_for_themselves(db: Database) -> None:
    await versions.add(db, "care", Kind.KNOWLEDGE, OLD, "x")
    await versions.add(db, "care", Kind.RESPONSES, NEW, "x")
    await versions.add(db, "sales", Kind.KNOWLEDGE, NEW, "x")
    await versions.add(db, "sales", Kind.KNOWLEDGE, OLD, "x")
    assert await versions.live(db) == {
        ("care", Kind.KNOWLEDGE): 1,
        ("care", Kind.RESPONSES): 1,
        ("sales", Kind.KNOWLEDGE): 2,
    }
    assert len(await versions.versions(db, Kind.KNOWLEDGE)) == 3
    assert await versions.entries(db, "care", Kind.RESPONSES, 1) == NEW


async def test_going_back_is_audited_and_the_next_import_gets_a_new_number(db: Database) -> None:
    for entries in (OLD, NEW):
        await versions.add(db, "care", Kind.KNOWLEDGE, entries, "x")
    await versions.use(db, "care", Kind.KNOWLEDGE, 1)
    assert await versions.live(db) == {("care", Kind.KNOWLEDGE): 1}
    third = await versions.add(db, "care", Kind.KNOWLEDGE, NEW, "y")
    assert (third.number, third.live) == (3, True)
    with pytest.raises(NotFound, match="no version 4"):
        await versions.use(db, "care", Kind.KNOWLEDGE, 4)
    assert await versions.live(db) == {("care", Kind.KNOWLEDGE): 3}
    done = [entry.action for entry in reversed(await audit.tail(db))]
    assert done == ["knowledge_import", "knowledge_import", "knowledge_use", "knowledge_import"]


async def test_a_large_version_keeps_its_order(db: Database) -> None:
    many = [Entry(id=f"e{n * 7919 % 1301}", text=str(n)) for n in range(1301)]
    made = await versions.add(db, "care", Kind.KNOWLEDGE, many, "x")
    assert await versions.entries(db, "care", Kind.KNOWLEDGE, made.number) == many
