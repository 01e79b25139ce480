"""Grades and the sample that people grade, in real databases."""

from typing import Any

import pytest

from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.erasure import aging, rows
from serving.store.erasure.rows import Item
from serving.store.grades import grades
from serving.store.grades.grades import SAMPLE, Grade, GradeRecord
from tests.serving.conftest import Interactions


async def answered(db: Database, make: Interactions, count: int, **fields: Any) -> list[str]:
    made = [make(**fields) for _ in range(count)]
    await interactions.save(db, made)
    return [one.id for one in made]


def grade(id_: str, key: str = "k", **fields: Any) -> GradeRecord:
    said = {"grade": Grade.GOOD, "unsupported": False} | fields
    return GradeRecord(interaction_id=id_, key_id=key, **said)


async def test_everybody_is_given_the_same_answers_in_the_same_order(
    db: Database, interaction: Interactions
) -> None:
    ids = await answered(db, interaction, 2 * SAMPLE)
    found = await grades.sample(db, "care", 0)
    assert len(found) == SAMPLE
    assert {*found} < {*ids}
    assert found not in (ids[:SAMPLE], ids[-SAMPLE:])
    for key in ("a", "b"):
        assert await grades.next_for(db, "care", key, 0) == (found[0], SAMPLE)
    await grades.give(db, grade(found[0], "a"))
    assert await grades.next_for(db, "care", "a", 0) == (found[1], SAMPLE - 1)
    assert await grades.next_for(db, "care", "b", 0) == (found[0], SAMPLE)


async def test_newer_answers_change_little_of_the_sample(
    db: Database, interaction: Interactions
) -> None:
    await answered(db, interaction, 4 * SAMPLE)
    before = {*await grades.sample(db, "care", 0)}
    await answered(db, interaction, SAMPLE)
    assert len(before & {*await grades.sample(db, "care", 0)}) > SAMPLE // 2


@pytest.mark.parametrize(
    "fields",
    [
        {"lob": "sales"},
        {"task": "chat"},
        {"status": "aborted"},
        {"finish_reason": "abstained"},
        {"holdback": 0.5, "shown_by_draw": False},
        {"output": ""},
        {"version": "upstream:other"},
        {"version": "rule:hours@1"},
        {"created_at": 1.0},
    ],
)
async def test_what_nobody_was_shown_or_is_not_ours_is_not_graded(
    db: Database, interaction: Interactions, fields: dict[str, Any]
) -> None:
    (kept,) = await answered(db, interaction, 1)
    await answered(db, interaction, 1, **fields)
    assert await grades.sample(db, "care", 100.0) == [kept]


async def test_a_grade_may_be_changed_and_each_is_in_the_audit(
    db: Database, interaction: Interactions
) -> None:
    (id_,) = await answered(db, interaction, 1)
    await grades.give(db, grade(id_))
    await grades.give(db, grade(id_, grade=Grade.WRONG, unsupported=True))
    await grades.give(db, grade(id_, "other"))
    first, second = await grades.given(db, "care", 0)
    assert (first.grade, first.unsupported, first.version) == (Grade.WRONG, True, "care@7")
    assert second.grade is Grade.GOOD
    assert grades.places([first, second]) == [(id_, "k", 0), (id_, "other", 2)]
    assert [entry.action for entry in await audit.of(db, id_)] == ["grade"] * 3
    assert await grades.given(db, "sales", 0) == []


async def test_a_grade_goes_with_its_answer(db: Database, interaction: Interactions) -> None:
    erased, old = await answered(db, interaction, 2)
    for id_ in (erased, old):
        await grades.give(db, grade(id_))
    item = Item(interaction_id=erased, scope="care/conversation-1", conversation_id=None)
    counts = await rows.delete_rows(db, [item])
    assert (counts["grades"], counts["interactions"]) == (1, 1)
    assert [one.interaction_id for one in await grades.given(db, "care", 0)] == [old]
    await aging.delete_batch(db, "care", {"interactions": 2e9})
    assert await grades.given(db, "care", 0) == []
