"""A key that reads much is told of once an hour, by one replica, to a real receiver."""

import asyncio
import json

import pytest
from pydantic import ValidationError
from sqlalchemy import update

from serving.alerts.bulk_reads import ACTION, LEASE, BulkReads
from serving.config.limits import Alerts
from serving.config.settings import Settings
from serving.observability.webhook import SIGNATURE, sign
from serving.store import audit
from serving.store.database import Database
from serving.store.tables import AuditRow
from tests.serving.store.test_leases import expire
from tests.webhook_receiver import receiving


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> Alerts:
    monkeypatch.setenv("ALERTS_SECRET", "s3cret")
    named = {"url": "${ALERTS_URL}", "secret": "${ALERTS_SECRET}"}
    return Alerts.model_validate(named | {"bulk_reads_per_hour": 3})


async def read(db: Database, key_id: str | None, times: int, action: str) -> None:
    for number in range(times):
        await audit.write(db, key_id, action, f"i-{number}", {"lob": "care"})


async def test_one_replica_tells_once_of_a_key_that_reads_more_than_the_limit(
    db: Database, store_url: str, alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(db, "key_much", 2, "read_interaction")
    await read(db, "key_much", 2, "read_review")
    await read(db, "key_some", 3, "read_interaction")
    await read(db, "key_other", 9, "promote")
    await read(db, None, 9, "read_interaction")
    other = Database(store_url)
    with receiving() as got:
        monkeypatch.setenv("ALERTS_URL", got.url)
        both = [BulkReads(one, alerts, name) for one, name in ((db, "a"), (other, "b"))]
        told = await asyncio.gather(*(one.once() for one in both))
        assert sorted(told) == [[], ["key_much"]]
        for one in both:
            await expire(db, LEASE)
            assert await one.once() == [], "within the hour"
    ((headers, body),) = got.posts
    said = json.loads(body)
    assert (said["event"], said["key_id"], said["reads"]) == ("bulk_reads", "key_much", 4)
    assert headers[SIGNATURE] == sign("s3cret", body)
    assert len(await audit.about(db, "key_much", ACTION)) == 1
    await other.close()


async def test_old_reads_do_not_count_and_an_hour_later_it_is_told_again(
    db: Database, alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as got:
        monkeypatch.setenv("ALERTS_URL", got.url)
        look = BulkReads(db, alerts, "a")
        for expected in ([], ["key_much"], ["key_much"]):
            await read(db, "key_much", 4 if expected else 3, "read_review")
            assert await look.once() == expected
            async with db.session() as connection:
                hour = {"created_at": AuditRow.created_at - 3601}
                await connection.execute(update(AuditRow).values(hour))
            await expire(db, LEASE)
        assert await look.once() == []
    assert len(got.posts) == 2


async def test_what_the_webhook_did_not_take_is_told_the_next_time(
    db: Database, alerts: Alerts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await read(db, "key_much", 4, "read_review")
    look = BulkReads(db, alerts, "a")
    with receiving(status=500) as got:
        monkeypatch.setenv("ALERTS_URL", got.url)
        assert await look.once() == []
    assert "key_much read 4 in an hour, and the webhook answers 500" in caplog.messages
    await expire(db, LEASE)
    with receiving() as got:
        monkeypatch.setenv("ALERTS_URL", got.url)
        assert await look.once() == ["key_much"]


async def test_alerts_are_off_by_default(db: Database) -> None:
    look = BulkReads(db, Settings.model_validate({"model": "m", "lobs": {}}).alerts, "a")
    await look.run()  # ends at once
    assert await look.once() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bulk_reads_per_hour": 3}, "needs url"),
        ({"url": "https://hooks.example/T/B"}, "alerts.url"),
        ({"bulk_read_per_hour": 3}, "alerts.bulk_read_per_hour"),
    ],
)
def test_a_wrong_section_is_refused_with_its_key(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate({"model": "m", "lobs": {}, "alerts": given})
