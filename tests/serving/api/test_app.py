"""Our endpoints while the store is down and in the wake of that."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import ports
from serving.adapters.registry import Registry
from serving.api import app as api
from serving.api import arrival
from serving.auth import ApiKey
from serving.capture import Drainer, Journal
from serving.capture.health import Health
from serving.capture.reviewing import Reviewing
from serving.capture.storing import Storing
from serving.config.lobs import Fallback
from serving.config.sections import Costs
from serving.embedding.models import Models
from serving.observability.alarm import Alarm
from serving.store import interactions
from serving.store.database import Database
from serving.store.records import InteractionRecord

Client = Callable[[Database], httpx.AsyncClient]


@pytest.fixture
def alarm() -> Alarm:
    return Alarm("the store is down")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path, "a")
    yield journal
    journal.close()


@pytest.fixture
async def client(tmp_path: Path, alarm: Alarm, journal: Journal) -> AsyncIterator[Client]:
    """A function that makes a client of the app over a store, which may be down.

    A drainer is at work that waits for a full batch.
    """
    running = []

    async def nothing(*_: Any) -> Any:
        return None

    def make(db: Database) -> httpx.AsyncClient:
        async def sink(payloads: list[bytes]) -> None:
            await interactions.save(
                db, [InteractionRecord.model_validate_json(one) for one in payloads]
            )

        drainer = Drainer(tmp_path, journal, sink, wait_s=600)
        running.append(asyncio.create_task(drainer.run()))
        storing = Storing(db, {}, None)
        app = api.build(
            db=db,
            registry=Registry(db, str(tmp_path)),
            drainer=drainer,
            health=Health(
                "r1", store=(alarm,), journal=journal, drainer=drainer, limit_bytes=1 << 20
            ),
            storing=storing,
            adapters=None,  # type: ignore[arg-type]  # not asked here
            base="base",
            ready=nothing,
            rollouts=nothing,
            reviewing=Reviewing(db, {}, None, storing),
            models=Models(None, None, Fallback(), {}.__getitem__),
            costs=Costs(),
        )

        async def authenticated(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("state", {})["key"] = ApiKey.anonymous()
            await app(scope, receive, send)

        return httpx.AsyncClient(
            transport=httpx.ASGITransport(authenticated), base_url="http://test"
        )

    yield make
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def fresh_id() -> str:
    return f"chatcmpl-{time.time_ns() // 1_000_000:012x}{'0' * 20}"


async def test_feedback_is_refused_and_not_acknowledged_while_the_store_is_down(
    client: Client,
) -> None:
    down = Database(f"postgresql://user@127.0.0.1:{ports.free()}/name")
    async with client(down) as http:
        answer = await http.post("/v1/feedback", json={"id": fresh_id(), "rating": "up"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "store_unavailable"
    assert int(answer.headers["retry-after"]) > 0


async def test_an_interaction_that_may_yet_arrive_is_not_unknown(
    client: Client, sqlite_db: Database, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "DRAIN_WAIT_S", 0.1)
    given = {"id": fresh_id(), "rating": "up"}
    async with client(sqlite_db) as http:
        assert (await http.post("/v1/feedback", json=given)).status_code == 404
        alarm.on("an outage")
        alarm.off()
        answer = await http.post("/v1/feedback", json=given)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        old = {"id": "chatcmpl-of-another-age", "rating": "up"}
        assert (await http.post("/v1/feedback", json=old)).status_code == 404


@pytest.mark.parametrize("asks", ["feedback", "events", "interactions"])
async def test_whoever_asks_for_an_interaction_that_waits_for_a_batch_has_it_moved(
    client: Client,
    sqlite_db: Database,
    journal: Journal,
    interaction: Callable[..., Any],
    asks: str,
) -> None:
    id_ = fresh_id()
    async with client(sqlite_db) as http:
        journal.append(interaction(id=id_, key_id=None).model_dump_json().encode())
        if asks == "feedback":
            answer = await http.post("/v1/feedback", json={"id": id_, "rating": "up"})
        elif asks == "events":
            event = {"event_id": "e1", "id": id_, "at": time.time(), "type": "sent", "text": "hi"}
            answer = await http.post("/v1/events", json={"events": [event]})
        else:
            answer = await http.get(f"/v1/interactions/{id_}")
    assert answer.status_code == 200, answer.text


async def test_an_unknown_id_is_unknown_while_others_wait_for_their_batch(
    client: Client,
    sqlite_db: Database,
    journal: Journal,
    interaction: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrival, "PAUSE_S", (0.01, 0.01))
    append, kept = interactions.get, interaction()

    async def get(*args: Any) -> Any:
        journal.append(kept.model_dump_json().encode())  # requests go on meanwhile
        return await append(*args)

    async with client(sqlite_db) as http:
        monkeypatch.setattr(interactions, "get", get)
        answer = await http.post("/v1/feedback", json={"id": fresh_id(), "rating": "up"})
    assert journal.backlog_bytes > 0
    assert answer.status_code == 404


async def test_ready_is_degraded_but_200_while_the_store_is_down(
    client: Client, sqlite_db: Database, alarm: Alarm
) -> None:
    async with client(sqlite_db) as http:
        assert (await http.get("/ready")).json()["status"] == "ready"
        alarm.on("an outage")
        answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["store"]["state"] == "down"


async def test_feedback_names_a_candidate_that_the_response_has(
    client: Client, sqlite_db: Database, interaction: Callable[..., Any]
) -> None:
    choices = [{"index": i, "message": {"content": f"text {i}"}} for i in range(2)]
    record = interaction(response={"choices": choices}, key_id=None)
    await interactions.save(sqlite_db, [record])
    async with client(sqlite_db) as http:
        for index in (0, 1):
            given = {"id": record.id, "index": index, "used": True}
            assert (await http.post("/v1/feedback", json=given)).json()["created"]
        for index in (2, -1, True, "1"):
            given = {"id": record.id, "index": index, "used": True}
            answer = await http.post("/v1/feedback", json=given)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "index")
        stored = (await http.get(f"/v1/interactions/{record.id}")).json()["feedback"]
    assert [one["index"] for one in stored] == [0, 1]
