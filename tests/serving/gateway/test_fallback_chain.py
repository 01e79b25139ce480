"""A request's whole way through the gateway to an upstream, the engine being out of order."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from serving.adapters.manager import AdapterManager
from serving.admission.fair_queue import Admission
from serving.admission.priority import Priorities
from serving.asgi import Receive, Scope, Send
from serving.auth import KeyRing
from serving.capture import Journal
from serving.capture.health import Health
from serving.capture.interaction import to_record
from serving.chat_template import ChatTemplate
from serving.config.limits import LobLimits
from serving.config.prompts import load
from serving.config.settings import Settings
from serving.errors import Unavailable
from serving.fallback.chain import Chains
from serving.gateway.app import Gateway
from serving.gateway.guarding.checks import Guarding
from serving.gateway.shadow import Shadows
from serving.knowledge.libraries import Libraries
from serving.routing import Table
from serving.store import shadows
from serving.store.database import Database
from serving.store.records import Route
from serving.untrusted_text import SpecialTokens

PROMPTS = Path(__file__).parents[3] / "configs" / "prompts"
TASK = {"lob": "care", "conversation": [{"role": "customer", "text": "Hi"}], "top_k": 1}


class Notes:
    """The journal's interface, in memory."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def commit(self, payload: bytes) -> None:
        self.payloads.append(payload)

    def append(self, payload: bytes) -> None:
        self.payloads.append(payload)


class Replica:
    """A gateway over an engine that is dead on demand."""

    def __init__(self, upstream_url: str, db: Database, registry_adapters: AdapterManager) -> None:
        self.dead = True
        self.engine_saw: list[bytes] = []
        self.journal = Notes()
        settings = Settings.model_validate(
            {
                "model": "m",
                "auth": {"enabled": False},
                "http": {"host": "127.0.0.1"},
                "upstreams": {"big": {"url": upstream_url, "model": "big-1", "timeout_s": 5}},
                "lobs": {
                    "care": {
                        "fallback": ["base", "upstream:big"],
                        "summary_fields": {"issue": "What was wrong"},
                    },
                    "sales": {},
                },
            }
        )
        self.chains = Chains(self._engine, self._check, registry_adapters, settings)
        admission = Admission(
            settings.limits,
            {"": LobLimits(), "care": LobLimits(), "sales": LobLimits()},
            places=4,
            levels=Priorities(settings.limits.priorities).levels,
        )
        keep = partial(shadows.add, db)
        self.gateway = Gateway(
            engine_app=self._engine,
            api_app=self._engine,
            keys=KeyRing(db),
            adapters=registry_adapters,
            admission=admission,
            guarding=Guarding(settings, SpecialTokens(), self.chains.upstream),
            libraries=Libraries(db, settings.lobs, {}.__getitem__),
            shadows=Shadows(
                self._engine, registry_adapters, admission, keep, settings, self.chains
            ),
            health=cast(Health, None),  # not asked here
            chains=self.chains,
            journal=cast(Journal, self.journal),
            prompts=load(PROMPTS, ["care", "sales"]),
            sampling_fields=frozenset({"top_k", "stream", "max_tokens"}),
            special_tokens=SpecialTokens(["<|end|>"]),
            template=ChatTemplate(takes_system=False),
            settings=settings,
            replica="r",
        )

    def _check(self) -> None:
        if self.dead:
            raise Unavailable("dead")

    async def _engine(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.engine_saw.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"id": "ours"}'})

    def http(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.gateway)
        headers = {"authorization": "Bearer sb-caller", "cookie": "c=1", "x-conversation-id": "c"}
        return httpx.AsyncClient(transport=transport, base_url="http://sb", headers=headers)


@pytest.fixture
async def heard() -> list[bytes]:
    return []


@pytest.fixture
async def replica(
    sqlite_db: Database, tmp_path: Path, heard: list[bytes]
) -> AsyncIterator[Replica]:
    """A replica whose upstream streams two tokens and their count, or answers whole."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line[:15] == b"content-length:"
        ]
        body = await reader.readexactly(length)
        heard.append(head + body)
        event: dict[str, Any] = {"id": "t", "object": "chat.completion", "model": "big-1"}
        if json.loads(body).get("stream"):
            event["object"] += ".chunk"
            events = [event | {"choices": [{"index": 0, "delta": {"content": c}}]} for c in "Hi"]
            events.append(event | {"choices": [], "usage": {"completion_tokens": 2}})
            texts = [json.dumps(one) for one in events] + ["[DONE]"]
            content = "".join(f"data: {text}\n\n" for text in texts).encode()
        else:
            message = {"role": "assistant", "content": "Hi"}
            content = json.dumps(event | {"choices": [{"index": 0, "message": message}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    adapters = AdapterManager(
        cast(Any, None),
        cast(Any, None),
        Table("base", ["care", "sales"], {"care": Route(lob="care", live="care@2", epoch=2)}),
        base_hash="",
        base_folder=None,
        max_rank=8,
        cache_dir=tmp_path,
    )
    adapters.loaded["care@2"] = cast(Any, None)
    made = Replica(f"http://127.0.0.1:{port}/v1", sqlite_db, adapters)
    yield made
    await made.chains.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_s_answer_keeps_our_contract(
    replica: Replica, heard: list[bytes], stream: bool
) -> None:
    async with replica.http() as http:
        answer = await http.post("/v1/suggestions", json=TASK | {"stream": stream})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-switchboard-version"] == "upstream:big"
    (record,) = [to_record(payload) for payload in replica.journal.payloads]
    assert record.id in answer.text
    assert '"t"' not in answer.text
    assert (record.version, record.model_requested) == ("upstream:big", "care")
    assert (record.output, record.status, record.lob) == ("Hi", "completed", "care")
    assert [step["outcome"] for step in record.steps] == ["skipped", "skipped", "answered"]
    assert record.messages[-1]["content"], "the prompt must be rendered"
    if stream:
        assert record.completion_tokens == 2
        assert "completion_tokens" not in answer.text, "only we asked for the count"
    (request,) = heard
    for secret in (b"sb-caller", b"cookie", b"x-conversation-id", b"top_k"):
        assert secret not in request.lower()
    assert replica.engine_saw == []


async def test_an_upstream_s_summary_is_checked_against_the_line_s_schema(
    replica: Replica, heard: list[bytes]
) -> None:
    body = {"lob": "care", "conversation": TASK["conversation"], "structured": True}
    async with replica.http() as http:
        answer = await http.post("/v1/summaries", json=body)
    assert answer.headers["x-switchboard-version"] == "upstream:big"
    (choice,) = answer.json()["choices"]
    assert choice["message"]["content"] == "Hi"
    assert choice["structure"] == {"complete": False, "fields": {}}
    (request,) = heard
    assert b"json_schema" in request


async def test_the_engine_answers_as_ever_where_it_can(
    replica: Replica, heard: list[bytes]
) -> None:
    replica.dead = False
    async with replica.http() as http:
        chained = await http.post("/v1/suggestions", json=TASK)
        plain = await http.post("/v1/suggestions", json=TASK | {"lob": "sales"})
    assert chained.headers["x-switchboard-version"] == "care@2"
    assert plain.headers["x-switchboard-version"] == "base"
    assert [json.loads(body)["model"] for body in replica.engine_saw] == ["care@2", "base"]
    first, second = [to_record(payload) for payload in replica.journal.payloads]
    assert ([step["step"] for step in first.steps], second.steps) == (["care@2"], [])
    assert heard == []


async def test_a_template_gets_the_chat_in_its_form_and_everybody_else_as_it_was_asked(
    replica: Replica, heard: list[bytes]
) -> None:
    """The template refuses system messages; the store and upstreams know nothing of it."""
    async with replica.http() as http:
        replica.dead = False
        await http.post("/v1/suggestions", json=TASK)
        await http.post("/v1/suggestions", json=TASK | {"lob": "sales"})
        replica.dead = True
        await http.post("/v1/suggestions", json=TASK)
    for body in replica.engine_saw:
        (message,) = json.loads(body)["messages"]
        assert message["role"] == "user"
    assert len(replica.engine_saw) == 2
    sent = json.loads(heard[0].partition(b"\r\n\r\n")[2])["messages"]
    stored = [to_record(payload).messages for payload in replica.journal.payloads]
    for messages in (sent, *stored):
        assert [message["role"] for message in messages] == ["system", "user"]


async def test_when_nothing_answers_the_error_names_each_step(replica: Replica) -> None:
    await replica.chains.close()
    async with replica.http() as http:
        answer = await http.post("/v1/suggestions", json=TASK)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    for step in ("care@2 (engine)", "base (engine)", "upstream:big ("):
        assert step in answer.json()["error"]["message"]
