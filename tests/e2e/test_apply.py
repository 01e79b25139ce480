"""A configuration is applied under load without a failed request, or refused whole."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.store import audit
from serving.store.database import Database
from tests.e2e.conftest import Server
from tests.e2e.test_hot_swap import PROMPT, Seen, client, stream_once

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CLIENTS = 4
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]


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


def write(server: Server, config: dict[str, Any], name: str = "new.yaml") -> Path:
    path = server.config.parent / name
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def load(server: Server, seen: list[Seen]) -> AsyncIterator[httpx.AsyncClient]:
    """Streams without a pause from several clients; each answer is noted."""
    stop = asyncio.Event()

    async def ask(http: httpx.AsyncClient) -> None:
        while not stop.is_set():
            seen.append(await stream_once(http, "care"))

    async with client(server, "trainer") as http:
        clients = [asyncio.create_task(ask(http)) for _ in range(CLIENTS)]
        try:
            yield http
        finally:
            stop.set()
            await asyncio.gather(*clients)


def failures(seen: list[Seen]) -> list[Seen]:
    return [s for s in seen if s.status != 200 or not s.done]


async def in_force(http: httpx.AsyncClient, server: Server) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {server.keys['admin']}"}
    answer = await http.get("/v1/config", headers=headers)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def apply(server: Server, path: Path, *options: str) -> tuple[int, str]:
    done = await asyncio.to_thread(server.cli, "apply", str(path), *options)
    return done.returncode, done.stdout + done.stderr


async def replicas(server: Server) -> set[str]:
    """The names of the replicas that answer, as interactions carry them."""
    names: set[str] = set()
    body = {"model": "care", "messages": PROMPT, "max_tokens": 8}
    async with client(server, "trainer") as http:
        for _ in range(10):
            posts = (http.post("/v1/chat/completions", json=body) for _ in range(8))
            ids = [answer.json()["id"] for answer in await asyncio.gather(*posts)]
            names |= {(await http.get(f"/v1/interactions/{id_}")).json()["replica"] for id_ in ids}
            if len(names) >= 2:
                break
    return names


async def test_light_change_reaches_every_replica_at_once(
    applied: Server, register: Callable[..., str], tmp_path: Path
) -> None:
    live = register(applied, "care")
    assert applied.cli("adapters", "promote", live).returncode == 0
    before = await replicas(applied)
    config = deepcopy(applied.settings)
    config["lobs"]["billing"] = {"suggestion_defaults": {"max_tokens": 3}}
    folder = tmp_path / "prompts"
    for name in ("suggestion", "summary"):
        text = (Path(applied.settings["prompts"]) / f"default/{name}.jinja").read_text()
        (folder / "default").mkdir(parents=True, exist_ok=True)
        (folder / "default" / f"{name}.jinja").write_text(
            text.replace("{% block user %}", "{% block user %}Marked. ")
        )
    config["prompts"] = str(folder)
    seen: list[Seen] = []
    async with load(applied, seen) as http:
        await asyncio.sleep(1)
        code, said = await apply(applied, write(applied, config))
        assert code == 0, said
        assert "on 2 replica(s)" in said
        body = {"lob": "billing", "conversation": CONVERSATION}
        answers = await asyncio.gather(*(http.post("/v1/suggestions", json=body) for _ in range(8)))
        view = await in_force(http, applied)
    assert {a.status_code for a in answers} == {200}
    assert {a.json()["usage"]["completion_tokens"] for a in answers} <= {1, 2, 3}
    async with client(applied, "admin") as http:
        found = await http.get(f"/v1/interactions/{answers[0].json()['id']}")
    assert "Marked. " in str(found.json()["messages"])
    assert failures(seen) == []
    assert {s.header for s in seen} == {live}
    assert await replicas(applied) == before, "no replica may restart for a light change"
    assert view["settings"]["lobs"]["billing"]["suggestion_defaults"] == {"max_tokens": 3}
    applied.config.write_text(yaml.safe_dump(config))


async def test_bad_configuration_is_refused_whole(applied: Server) -> None:
    async with client(applied, "admin") as http:
        before = await in_force(http, applied)
        for changes, words in [
            ({"http": {**applied.settings["http"], "port": 1}}, "http.port"),
            ({"store": {"url": "sqlite:///elsewhere"}}, "store.url"),
            ({"engine": {**applied.settings["engine"], "max_num_seqs": "many"}}, "max-num-seqs"),
            ({"engine": {**applied.settings["engine"], "max_model_len": 10_000_000}}, "engine"),
            ({"lobs": {"care": {"summary_feilds": {}}}}, "summary_feilds"),
        ]:
            config = {**applied.settings, "served_name": "base", **changes}
            config["lobs"] = {**config["lobs"], "added": {}}
            code, said = await apply(applied, write(applied, config), "--url", applied.url)
            assert code == 1, said
            assert words in said
        after = await in_force(http, applied)
        models = (await http.get("/v1/models")).json()["data"]
    assert after["hash"] == before["hash"]
    assert "added" not in {model["id"] for model in models}
    refused = applied.cli("apply", str(applied.config), key="service")
    assert "role admin" in refused.stderr


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
    assert [entry.detail["state"] for entry in acts] == ["failed", "applied", "applied"]


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
        with applied.http("trainer") as again:
            assert again.get(f"/v1/interactions/{id_}").json()["status"] == "completed"
            states = [again.get(f"/v1/interactions/{i}").json().get("status") for i in cut]
        assert set(states) == {"aborted"}
    finally:
        applied.stop()
