"""The newest interactions of a line come first, whatever the page, judged or not."""

import pytest

from serving.store import interactions
from serving.store.database import Database
from serving.store.intents.recent import newest
from serving.store.records import Task
from tests.training.records import labelled


@pytest.mark.parametrize("page", [1, 2, 500])
async def test_every_interaction_comes_once_the_newest_first(db: Database, page: int) -> None:
    rows = [
        labelled(f"i{n}", created_at=float(n // 2), task=task)
        for n, task in enumerate(["insight", "insight", "summary", "chat", "insight"])
    ]
    other = labelled("other", lob="sales", task="insight")
    await interactions.save(db, [row.interaction for row in (*rows, other)])
    tasks = (Task.INSIGHT, Task.SUMMARY)
    found = [one.id async for one in newest(db, lob="care", tasks=tasks, page=page)]
    assert found == ["i4", "i2", "i1", "i0"]
    late = newest(db, lob="care", tasks=tasks, since=1.0, page=page)
    assert [one.id async for one in late] == ["i4", "i2"]
