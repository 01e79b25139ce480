from collections.abc import Callable
from typing import Any

import pytest

from serving.errors import Conflict
from serving.store import audit, cycles, interactions
from serving.store import feedback as feedback_rows
from serving.store.database import Database
from serving.store.records import CycleState, FeedbackRecord, InteractionRecord


async def test_a_line_is_known_once_and_keeps_what_it_was_told(db: Database) -> None:
    first = await cycles.see(db, "care")
    assert (first.paused, first.forced) == (False, False)
    assert await cycles.see(db, "care") == first
    assert (await cycles.set_flags(db, "care", paused=True)).paused
    told = await cycles.set_flags(db, "care", forced=True)
    assert (told.paused, told.forced, told.created_at) == (True, True, first.created_at)
    assert [e.detail for e in await audit.about(db, "care", "flywheel")] == [
        {"forced": True},
        {"paused": True},
    ]


async def test_one_cycle_at_a_time_and_a_wish_is_used_up(db: Database) -> None:
    await cycles.set_flags(db, "care", forced=True)
    first = await cycles.begin(db, "care", "asked for", term=1)
    assert (first.number, first.state, first.is_open) == (1, CycleState.CURATE, True)
    assert not (await cycles.see(db, "care")).forced
    with pytest.raises(Conflict, match="cycle 1 of care is under way"):
        await cycles.begin(db, "care", "due", term=2)
    assert (await cycles.begin(db, "sales", "due", term=1)).number == 1
    await cycles.note(db, first, "no", state=CycleState.REJECTED)
    second = await cycles.begin(db, "care", "due", term=2)
    assert [c.number for c in await cycles.latest(db, "care", 9)] == [2, 1]
    assert second.is_open


async def test_who_lost_a_cycle_cannot_write_to_it(db: Database) -> None:
    mine = await cycles.begin(db, "care", "due", term=1)
    theirs = await cycles.take_over(db, mine, 2)
    with pytest.raises(Conflict, match="another scheduler's"):
        await cycles.save(db, mine, error="late")
    with pytest.raises(Conflict, match="another scheduler's"):
        await cycles.take_over(db, mine, 1)
    noted = await cycles.note(db, theirs, "built", state=CycleState.TRAIN, dataset_id="d")
    assert (noted.state, noted.dataset_id, noted.error) == (CycleState.TRAIN, "d", None)
    assert [(e["state"], e["text"]) for e in noted.log] == [("train", "built")]


async def test_feedback_is_new_until_a_cycle_that_saw_it_is_judged(
    db: Database,
    interaction: Callable[..., InteractionRecord],
    feedback: Callable[..., FeedbackRecord],
) -> None:
    async def come(count: int, **fields: Any) -> None:
        for _ in range(count):
            one = interaction(**fields)
            await interactions.save(db, [one])
            await feedback_rows.add(db, feedback(one.id, rating=1.0))

    assert await cycles.new_feedback(db, "care") == (0, 0)
    await come(3)
    await come(2, lob="sales")
    await come(1, version="upstream:other")
    count, newest = await cycles.new_feedback(db, "care")
    assert count == 3
    cycle = await cycles.begin(db, "care", "due", term=1)
    cycle = await cycles.save(db, cycle, feedback_seen=newest)
    await come(4)
    assert (await cycles.new_feedback(db, "care"))[0] == 7
    for state, left in (("failed", 7), ("too_little_data", 7), ("rejected", 4)):
        await cycles.save(db, cycle, state=state)
        assert (await cycles.new_feedback(db, "care"))[0] == left
