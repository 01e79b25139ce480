import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.capture import Drainer, Journal
from serving.capture.health import Health
from serving.errors import JournalFull, StoreUnavailable
from serving.observability.alarm import Alarm
from tests.waiting import until_async


@pytest.fixture
def store() -> Alarm:
    return Alarm("the store is down")


async def make(tmp_path: Path, store: Alarm) -> tuple[Journal, Drainer, Health, list[bytes]]:
    journal = Journal(tmp_path, "a", limit_bytes=10_000)
    stored: list[bytes] = []

    async def sink(payloads: list[bytes]) -> None:
        if store.since is not None:
            raise StoreUnavailable("the store postgresql://user@secret-host/x does not answer")
        stored.extend(payloads)

    drainer = Drainer(tmp_path, journal, sink, wait_s=0.01)
    health = Health(
        "r1", store=(store, drainer.alarm), journal=journal, drainer=drainer, limit_bytes=10_000
    )
    return journal, drainer, health, stored


async def until(condition: Callable[[], bool]) -> None:
    await until_async(condition, "the health page does not say so", every_s=0.01)


async def test_all_is_well(tmp_path: Path, store: Alarm) -> None:
    journal, _, health, _ = await make(tmp_path, store)
    assert not health.behind
    assert health.page("live") == {
        "status": "live",
        "replica": "r1",
        "store": {"state": "up"},
        "capture": {
            "state": "ok",
            "spooled_interactions": 0,
            "spooled_bytes": 0,
            "limit_bytes": 10_000,
            "lost": 0,
        },
        "guards": {"state": "ok"},
    }
    journal.close()


async def test_an_outage_of_the_store_is_told_with_what_waits_and_ends_when_it_is_drained(
    tmp_path: Path, store: Alarm
) -> None:
    journal, drainer, health, stored = await make(tmp_path, store)
    store.on("refused")
    task = asyncio.create_task(drainer.run())
    for number in range(3):
        journal.append(b"payload %d" % number)
    await until(lambda: drainer.alarm.since is not None)
    page = health.page("live")
    assert page["status"] == "degraded"
    assert page["store"]["state"] == "down"
    assert page["store"]["since"].endswith("Z")
    assert page["store"]["for_s"] >= 0
    assert page["capture"]["state"] == "spooling"
    assert page["capture"]["spooled_interactions"] == 3
    assert page["capture"]["spooled_bytes"] == 51
    assert "secret-host" not in str(page), "the page is public"
    assert health.behind
    store.off()
    await drainer.flush(10)
    await until(lambda: health.page("live")["status"] == "live")
    assert health.page("live")["capture"]["spooled_interactions"] == 0
    assert stored == [b"payload 0", b"payload 1", b"payload 2"]
    assert health.behind, "another replica's journal may still be draining"
    task.cancel()
    journal.close()


async def test_a_full_disk_is_an_alarm_until_a_write_succeeds(
    tmp_path: Path, store: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _, health, _ = await make(tmp_path, store)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        for _ in range(2):
            with pytest.raises(JournalFull):
                journal.append(b"x")
    page = health.page("ready")
    assert page["status"] == "degraded"
    assert page["store"] == {"state": "up"}
    assert page["capture"]["state"] == "alarm"
    assert page["capture"]["lost"] == 2
    assert page["capture"]["since"].endswith("Z")
    journal.append(b"x")
    assert health.page("ready")["status"] == "ready"
    assert health.page("ready")["capture"]["lost"] == 2
    journal.close()
