"""What takes more engines than a small machine holds: rolling restarts, and a stop under load."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
import yaml

from serving.store import audit
from serving.store.database import Database
from tests.e2e.server import Server
from tests.e2e.test_apply import CONVERSATION, apply, failures, in_force, load, replicas, write
from tests.e2e.test_hot_swap import PROMPT, Seen, client

pytestmark = [pytest.mark.e2e, pytest.mark.drill]


@pytest.fixture(scope="module")
def applied(
    make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of this module's own, whose configuration the tests change in turn."""
    made = make_server(
        tmp_path_factory.mktemp("apply"),
        replicas=2,
        env={
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
        },
    )
    config = made.settings
    config["http"]["drain_s"] = 12
    made.config.write_text(yaml.safe_dump(config))
    made.start()
    yield made
    made.stop()


async def test_heavy_change_restarts_replicas_one_by_one(
    applied: Server, register: Callable[..., str]
) -> None:
    live = register(applied, "care")
    assert applied.cli("adapters", "promote", live).returncode == 0
    before = await replicas(applied)
    config = deepcopy(applied.settings)
    config["engine"]["max_num_seqs"] = 32
    config["lobs"]["late"] = {}
    seen: list[Seen] = []
    async with load(applied, seen) as http:
        code, said = await apply(applied, write(applied, config))
        assert code == 0, said
        view = await in_force(http, applied)
    assert failures(seen) == []
    assert {s.header for s in seen} == {live}
    assert view["settings"]["engine"]["max_num_seqs"] == 32
    assert (await replicas(applied)).isdisjoint(before)
    async with client(applied, "trainer") as http:
        body = {"lob": "late", "conversation": CONVERSATION, "max_tokens": 1}
        answers = await asyncio.gather(*(http.post("/v1/suggestions", json=body) for _ in range(8)))
    assert {a.status_code for a in answers} == {200}
    applied.config.write_text(yaml.safe_dump(config))


async def test_replica_that_cannot_start_leaves_the_old_ones_in_force(applied: Server) -> None:
    config = deepcopy(applied.settings)
    config["env"]["VLLM_CPU_KVCACHE_SPACE"] = "100000"  # GiB: only a start can tell
    config["lobs"]["never"] = {}
    seen: list[Seen] = []
    before = await replicas(applied)
    async with load(applied, seen) as http:
        old = await in_force(http, applied)
        code, said = await apply(applied, write(applied, config))
        new = await in_force(http, applied)
    assert code == 1, said
    assert "could not start" in said
    assert (new["hash"], new["apply"]["state"]) == (old["hash"], "failed")
    assert failures(seen) == []
    assert await replicas(applied) == before

    async def tail() -> list[Any]:
        db = Database(applied.settings["store"]["url"])
        await db.open()
        try:
            return list(await audit.tail(db, 200))
        finally:
            await db.close()

    acts = [entry for entry in await tail() if entry.action == "apply_config"]
    assert [entry.detail["state"] for entry in acts] == ["failed", "applied"]


async def test_stop_lets_streams_finish_and_cuts_the_endless(applied: Server) -> None:
    """The last test of the module: it ends the server."""
    assert applied.process is not None
    body = {"model": "base", "messages": PROMPT, "stream": True, "ignore_eos": True}

    async def ask(
        http: httpx.AsyncClient, tokens: int, n: int, begun: asyncio.Event
    ) -> tuple[str, bool]:
        id_, done = "", False
        try:
            request = body | {"max_tokens": tokens, "n": n}
            async with http.stream("POST", "/v1/chat/completions", json=request) as answer:
                async for line in answer.aiter_lines():
                    begun.set()
                    if line.startswith("data: {"):
                        id_ = json.loads(line[6:])["id"]
                    done = done or line == "data: [DONE]"
        except httpx.TransportError:
            pass
        return id_, done

    async with client(applied, "trainer") as http:
        begun = [asyncio.Event() for _ in range(44)]
        short = asyncio.create_task(ask(http, 100, 1, begun[0]))
        # Enough to last beyond the limit on any machine.
        long = [asyncio.create_task(ask(http, 900, 8, event)) for event in begun[1:]]
        await asyncio.gather(*(event.wait() for event in begun[:8]))
        stopped = time.monotonic()
        applied.process.send_signal(signal.SIGTERM)
        refused = 0
        while not short.done():
            try:
                answer = await http.post("/v1/chat/completions", json={"messages": PROMPT})
                refused += answer.status_code == 503
            except httpx.TransportError:
                break
            await asyncio.sleep(0.3)
        id_, done = await short
        ended = await asyncio.gather(*long)
    applied.process.wait(60)
    applied.process = None
    assert done, "a stream in flight must finish"
    assert refused > 0, "new requests must be refused while others finish"
    cut = [id_ for id_, done in ended if id_ and not done]
    assert cut, f"all ended within {time.monotonic() - stopped:.0f} s: none outlasted the limit"

    applied.start()
    try:
        with applied.http("service") as again:
            assert again.get(f"/v1/interactions/{id_}").json()["status"] == "completed"
            states = [again.get(f"/v1/interactions/{i}").json().get("status") for i in cut]
        assert set(states) == {"aborted"}
    finally:
        applied.stop()
