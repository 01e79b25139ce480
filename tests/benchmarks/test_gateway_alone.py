"""The gateway's own benchmark: its arithmetic, and its stand-in behind a real gateway."""

import asyncio
from pathlib import Path

import gateway_alone
import gateway_load
import gateway_server
import pytest
from gateway_alone import added, cpu, holds, summary
from gateway_load import Client, Times

from serving.store import interactions
from serving.store.database import Database


def many(first_ms: float, whole_ms: float) -> list[Times]:
    return [Times(first_ms + n % 5, whole_ms + n % 5) for n in range(100)]


def test_what_is_added_is_of_pairs_so_that_slow_requests_do_not_count_twice() -> None:
    found = added(many(11.5, 103.0), many(10.0, 100.0))
    assert found["first_ms"] == {"p50": 1.5, "p99": 1.5}
    assert found["whole_ms"] == {"p50": 3.0, "p99": 3.0}


def test_a_request_without_its_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        added(many(1, 2), many(1, 2)[:-1])


def cell(rate: int, added_ms: float) -> dict[str, dict[str, list[Times]]]:
    arms = {"alone": many(1, 9), "gateway": many(1, 9 + added_ms), "noise": many(1, 9)}
    return {f"stream: {rate} /s": arms}


def run(rate: int, behind_s: float = 0.1) -> dict[str, object]:
    return {"cell": f"stream: {rate} /s", "arm": "gateway", "behind_s": behind_s}


def test_a_rate_is_held_only_if_every_lower_one_is() -> None:
    found = summary(cell(50, 0.5) | cell(100, 2.5) | cell(200, 0.5))
    assert holds(found, [run(50), run(100), run(200)], "stream") == 50
    assert holds(found, [run(50), run(100), run(200)], "whole") == 0


def test_a_rate_whose_answers_are_not_stored_in_time_is_not_held() -> None:
    found = summary(cell(50, 0.5) | cell(100, 0.5))
    assert holds(found, [run(50), run(100)], "stream") == 100
    assert holds(found, [run(50), run(100, behind_s=3.0)], "stream") == 50


def test_cpu_time_is_by_request_over_the_stand_in_alone() -> None:
    runs = [
        {"cell": "c", "arm": arm, "cpu_s": cpu_s, "requests": 100}
        for arm, cpu_s in (("alone", 0.1), ("gateway", 0.15), ("noise", 0.11), ("noise", 0.11))
    ]
    assert cpu(runs) == {"c": {"alone": 1000, "added": 500, "noise": 100}}


@pytest.mark.parametrize("kind", ["alone", "gateway"])
async def test_a_server_answers_streams_and_whole_answers_and_says_what_it_cost(kind: str) -> None:
    server = await gateway_alone.Server.start(kind, None)
    try:
        before = await server.tell(pace_s=0.002)
        for stream in (True, False):
            times = await server.client.ask(stream=stream)
            assert times.whole_ms > gateway_server.TOKENS * 2.0
            assert (times.first_ms < times.whole_ms / 2) == stream
        after = await server.tell(settle=True)
        assert after["cpu_s"] > before["cpu_s"]
    finally:
        await server.stop()


async def test_what_the_gateway_answers_is_captured_as_any_answer(tmp_path: Path) -> None:
    engine = gateway_server.StandIn()
    async with gateway_server.gateway(engine, tmp_path) as (app, drainer, key):
        sent: list[bytes] = []

        async def send(message: dict[str, object]) -> None:
            body = message.get("body", b"")
            assert isinstance(body, bytes)
            sent.append(body)

        asked = gateway_load.request(key, stream=True).partition(b"\r\n\r\n")
        messages = [{"type": "http.request", "body": asked[2], "more_body": False}]

        async def receive() -> dict[str, object]:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [(b"authorization", b"Bearer " + key.encode())],
        }
        await app(scope, receive, send)
        await drainer.flush(10)
        assert sent[-2:] == [b"data: [DONE]\n\n", b""]
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        assert await interactions.count(db) == 1
        async with db.reader() as connection:
            rows = await connection.exec_driver_sql("SELECT output, version FROM interactions")
            output, version = rows.one()
        await db.close()
        assert output.endswith("word47")
        assert version == "care@2"


async def test_an_answer_that_is_an_error_fails_the_benchmark() -> None:
    server = await gateway_alone.Server.start("gateway", None)
    try:
        port = server.client._port
        with pytest.raises(RuntimeError, match="401"):
            await Client(port, "sb-wrong").ask(stream=True)
    finally:
        await server.stop()
