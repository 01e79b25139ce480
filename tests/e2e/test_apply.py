"""A configuration is applied under load without a failed request, or refused whole."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.server import Server
from tests.e2e.test_hot_swap import PROMPT, Seen, client, stream_once
from tests.waiting import PATIENCE_S, until_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CLIENTS = 4
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]


@pytest.fixture
def applied(server: Server) -> Iterator[Server]:
    """The session's server; afterwards its own configuration is in force again."""
    yield server
    server.apply()


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
    async with client(server, "service") as http:
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
        await until_async(lambda: len(seen) > 2 * CLIENTS, "the load does not run")
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


async def test_bad_configuration_is_refused_whole(applied: Server) -> None:
    own = applied.settings
    faults: list[tuple[dict[str, Any], str]] = [
        ({"http": {**own["http"], "port": 1}}, "http.port"),
        ({"store": {"url": "sqlite:///elsewhere"}}, "store.url"),
        ({"engine": {**own["engine"], "max_num_seqs": "many"}}, "max-num-seqs"),
        ({"engine": {**own["engine"], "max_model_len": 10_000_000}}, "engine"),
    ]

    def faulty(changes: dict[str, Any]) -> dict[str, Any]:
        config = {**own, "served_name": "base", **changes}
        return {**config, "lobs": {**config["lobs"], "added": {}}}

    async with client(applied, "admin") as http:
        before = await in_force(http, applied)
        bodies = [applied.body(faulty(changes)) for changes, _ in faults]
        answers = await asyncio.gather(
            *(http.post("/v1/config", json=body, timeout=PATIENCE_S) for body in bodies)
        )
        for answer, (_, words) in zip(answers, faults, strict=True):
            assert 400 <= answer.status_code < 500, answer.text
            assert words in answer.json()["error"]["message"]
        # As an operator sees it: what the server refuses, and what does not get so far.
        for changes, words in (
            faults[0],
            ({"lobs": {"care": {"summary_feilds": {}}}}, "summary_feilds"),
        ):
            path = write(applied, faulty(changes))
            code, said = await apply(applied, path, "--url", applied.url)
            assert code == 1, said
            assert words in said
        after = await in_force(http, applied)
        models = (await http.get("/v1/models")).json()["data"]
    assert after["hash"] == before["hash"]
    assert "added" not in {model["id"] for model in models}
    refused = applied.cli("apply", str(applied.config), key="service")
    assert "role admin" in refused.stderr
