from typing import Any

from serving.store.database import Database
from serving.store.reports import looks

SAID: dict[str, Any] = {
    "owner": "a",
    "action": "wait",
    "why": "due, but with 3 new feedback of 50",
    "next_at": None,
    "needed": 50,
}


async def test_the_last_look_at_each_line_is_kept(db: Database) -> None:
    assert await looks.all_(db) == {}
    await looks.save(db, "care", **SAID)
    await looks.save(db, "sales", **SAID)
    await looks.save(db, "care", **SAID | {"owner": "b", "action": "begin", "next_at": 5.0})
    found = await looks.all_(db)
    assert {*found} == {"care", "sales"}
    assert (found["care"].owner, found["care"].action, found["care"].next_at) == ("b", "begin", 5.0)
    assert found["care"].looked_at >= found["sales"].looked_at
    assert found["sales"].why == SAID["why"]


async def test_progress_is_told_by_who_looked_last_and_outlives_a_look(db: Database) -> None:
    await looks.save(db, "care", **SAID)
    await looks.tell(db, "care", "a", "training", 3, 12)
    await looks.save(db, "care", **SAID)
    look = (await looks.all_(db))["care"]
    assert (look.doing, look.done, look.total) == ("training", 3, 12)
    assert look.told_at is not None
    await looks.tell(db, "care", "other", "training", 9, 12)
    assert (await looks.all_(db))["care"].done == 3
    await looks.tell(db, "care", "a", None)
    assert (await looks.all_(db))["care"].doing is None
