"""What is refused by keyed hashes, in both databases."""

from serving.store.database import Database
from serving.store.erasure import tombstones
from serving.store.erasure.tombstones import Marks
from tests.serving.erasure.talk import payload


def mark(id_: str, talk: str | None = None, *persons: str, lob: str = "care") -> Marks:
    return Marks(id_, lob, talk, persons, 10.0)


async def refused(db: Database, *marks: Marks) -> set[str]:
    async with db.session() as connection:
        return await tombstones.refused(db, connection, marks)


async def bury(
    db: Database, kind: str, lob: str | None, name: str, until: float | None = None
) -> None:
    async with db.session() as connection:
        await tombstones.add(db, connection, [(kind, lob, name)], until)


async def test_a_conversation_is_refused_in_its_line_for_ever(db: Database) -> None:
    await bury(db, "conversation", "care", "c-1")
    marks = mark("a", "c-1"), mark("b", "c-2"), mark("c", "c-1", lob="sales"), mark("c-1")
    assert await refused(db, *marks) == {"a"}


async def test_a_person_is_refused_for_what_was_made_until_then(db: Database) -> None:
    await bury(db, "person", None, "anna", 9.0)
    assert await refused(db, mark("a", None, "anna")) == set()
    await bury(db, "person", None, "anna", 10.0)
    await bury(db, "person", None, "anna", 5.0)
    assert await refused(db, mark("a", None, "anna"), mark("b", None, "bert")) == {"a"}


async def test_the_other_turns_of_a_persons_conversation_are_refused_with_hers(
    db: Database,
) -> None:
    await bury(db, "person", None, "anna", 10.0)
    assert await refused(db, mark("a", "c-1", "anna"), mark("b", "c-1")) == {"a", "b"}
    assert await refused(db, mark("c", "c-1")) == {"c"}


async def test_two_stores_hash_a_name_differently(db: Database) -> None:
    async with db.session() as connection:
        key = await tombstones.secret(db, connection)
        assert await tombstones.secret(db, connection) == key
    other = bytes(len(key))
    assert tombstones.digest(key, "person", None, "a") != tombstones.digest(
        other, "person", None, "a"
    )


def test_a_journalled_interaction_is_known_by_what_it_names() -> None:
    found = tombstones.marks_of(payload("i", "c", "text", "anna", at=3.0))
    assert found == Marks("i", "care", "c", ("anna",), 3.0)
    assert tombstones.marks_of(b"no interaction") is None
