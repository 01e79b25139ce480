from serving.store.database import Database
from serving.store.reports import impact


async def test_a_line_has_its_last_report(db: Database) -> None:
    assert await impact.latest(db, "care") is None
    await impact.publish(db, "care", {"rows": []})
    await impact.publish(db, "care", {"rows": [{"version": "care@1"}]})
    found = await impact.latest(db, "care")
    assert found is not None
    assert found.content == {"rows": [{"version": "care@1"}]}
    assert found.made_at > 1e9
    assert await impact.latest(db, "sales") is None
