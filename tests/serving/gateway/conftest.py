"""A replica without its engine: the gateway, our own endpoints, real keys, a real store."""

import asyncio
import math
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
import pytest

from serving import auth, endpoints
from serving.adapters.manager import AdapterManager
from serving.adapters.registry import Registry
from serving.admission.fair_queue import Admission
from serving.admission.priority import Priorities
from serving.api import app as api
from serving.api import batches, config, files, fine_tuning
from serving.api.compatible import transcriptions
from serving.api.realtime import endpoint as realtime
from serving.asgi import Receive, Scope, Send
from serving.auth import KeyRing
from serving.capture import Drainer, Journal
from serving.capture.health import Health
from serving.capture.interaction import to_record
from serving.capture.reviewing import Reviewing
from serving.capture.storing import Storing
from serving.capture.traced import traced_sink
from serving.chat_template import ChatTemplate
from serving.config.guards import LobGuards
from serving.config.lobs import Lob, Shadow
from serving.config.prompts import Prompt, Task, load
from serving.config.settings import Settings
from serving.console import app as console
from serving.embedding.models import Models
from serving.fallback.chain import Chains
from serving.files.storage import FileStorage
from serving.files.upload import FileLimits, Files
from serving.gateway.app import Gateway
from serving.gateway.guarding.checks import Guarding
from serving.gateway.shadow import Shadows
from serving.knowledge.libraries import Libraries
from serving.observability.tracing import Tracing, traced_engine
from serving.rollout.coordinator import RolloutResult
from serving.routing import Table
from serving.store import interactions, shadows
from serving.store.database import Database
from serving.store.records import InteractionRecord, Route
from serving.transcription.whisper import Transcriber
from serving.untrusted_text import SpecialTokens
from tests import chromium
from tests.waiting import until_async

LOBS = ("care", "sales")
PLACES = 8


@dataclass
class Site:
    """A replica as its clients see it; what its engine was asked lies in `asked`.

    A version in `held` never answers, one in `broken` with 500; one that was told that its client
    left is in `left`. What it answers is `says`, or its name, each word with the probability
    `sure`, where that is asked; it `ends` for that reason.
    """

    db: Database
    gateway: Gateway
    journal: Journal
    drainer: Drainer
    key_ring: KeyRing
    asked: list[tuple[Scope, dict[str, Any]]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    says: str | None = None
    ends: str = "stop"
    sure: float | None = None
    rolled: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    adapters: AdapterManager = field(init=False)
    admission: Admission = field(init=False)
    chains: Chains = field(init=False)
    shadows: Shadows = field(init=False)
    reviewing: Reviewing = field(init=False)
    files: Files = field(init=False)
    libraries: Libraries = field(init=False)
    transcriber: Transcriber = field(init=False)
    settings: Settings = field(init=False)
    prompts: dict[tuple[str, Task], Prompt] = field(init=False)

    def shadow(self, **fields: Any) -> None:
        """Have care@3 shadow care's live version, as `switchboard apply` does."""
        lobs = dict(self.settings.lobs)
        shadow = Shadow.model_validate({"version": "care@3", "share": 1.0} | fields)
        lobs["care"] = lobs["care"].model_copy(update={"shadow": shadow})
        self.gateway.configure(self.settings.model_copy(update={"lobs": lobs}), self.prompts)

    def guard(self, guards: dict[str, Any], **fields: Any) -> None:
        """Give care these guards, as `switchboard apply` does."""
        lobs = dict(self.settings.lobs)
        its = LobGuards.model_validate(guards)
        lobs["care"] = lobs["care"].model_copy(update={"guards": its} | fields)
        self.reviewing.configure(lobs)
        self._apply(lobs)

    def line(self, **fields: Any) -> None:
        """Give care other settings, as `switchboard apply` does."""
        lobs = dict(self.settings.lobs)
        lobs["care"] = Lob.model_validate(lobs["care"].model_dump(mode="json") | fields)
        self._apply(lobs)

    def _apply(self, lobs: dict[str, Lob]) -> None:
        settings = self.settings.model_copy(update={"lobs": lobs})
        self.gateway.configure(settings, self.prompts)
        self.chains.configure(settings)

    async def http(self, roles: list[str], lobs: list[str]) -> httpx.AsyncClient:
        """A client with a key of its own for these roles and lines."""
        name = f"{roles} {lobs}"
        if name not in self.keys:
            self.keys[name], _ = await auth.create(self.db, name=name, roles=roles, lobs=lobs)
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.gateway),
            base_url="http://sb",
            headers={"authorization": f"Bearer {self.keys[name]}"},
        )

    async def stored(self) -> list[InteractionRecord]:
        """Move what was answered to the store; returns all of it."""
        await self.drainer.flush(5)
        async with self.db.reader() as connection:
            ids = (await connection.exec_driver_sql("SELECT id FROM interactions")).scalars().all()
        found = [await interactions.get(self.db, id_) for id_ in ids]
        return [one for one in found if one is not None]


def logprobs(words: list[str], sure: float | None) -> dict[str, Any]:
    """What vLLM adds to a choice of a chat whose request asks for log probabilities."""
    if sure is None:
        return {}
    each = [{"token": w, "logprob": math.log(sure), "top_logprobs": []} for w in words]
    return {"logprobs": {"content": each}}


async def streamed(
    send: Send, id_: str, model: str, said: str, sure: float | None = None, ends: str = "stop"
) -> None:
    """Stream an answer word by word, then its token counts, as vLLM does."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    one = {"id": id_, "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas = [{"role": "assistant", "content": ""}, *({"content": f"{w} "} for w in said.split())]
    events = [one | {"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    for event in events[1:]:
        (choice,) = event["choices"]
        choice |= logprobs([choice["delta"]["content"]], sure)
    events.append(one | {"choices": [{"index": 0, "delta": {}, "finish_reason": ends}]})
    events.append(one | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    for event in events:
        body = b"data: " + orjson.dumps(event) + b"\n\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def tracing() -> Tracing | None:
    """What traces the replica's requests; a file that is about traces has one."""
    return None


@pytest.fixture
def sections() -> dict[str, Any]:
    """Further sections of the replica's configuration; a file that is about them has some."""
    return {}


@pytest.fixture
async def site(
    sqlite_db: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tracing: Tracing | None,
    sections: dict[str, Any],
) -> AsyncIterator[Site]:
    """A replica with the lines care, whose version 2 is live, and sales, which the base answers."""
    monkeypatch.setattr(auth, "PAUSE_S", 0.0)
    settings = Settings.model_validate(
        {
            "model": "m",
            "upstreams": {"guard": {"url": "http://127.0.0.1:1/v1", "model": "g"}},
            "lobs": {"care": {"limits": {"max_queue": 0}}, "sales": {}},
            "fine_tuning": {"max_unfinished": 3, "priorities": {"urgent": -1}},
            **sections,
        }
    )

    async def engine(scope: Scope, receive: Receive, send: Send) -> None:
        body = orjson.loads((await receive())["body"])
        made.asked.append((scope, body))
        request_id = dict(scope["headers"])[b"x-request-id"].decode()
        prefix = "resp_" if "responses" in scope["path"] else "chatcmpl-"
        if body["model"] in made.held:
            while (await receive())["type"] != "http.disconnect":
                pass
            made.left.append(body["model"])
            return
        if body["model"] in made.broken:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
            return
        said = made.says or f"of {body['model']}"
        sure = made.sure if body.get("logprobs") else None
        if body.get("stream"):
            await streamed(send, f"{prefix}{request_id}", body["model"], said, sure, made.ends)
            return
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": made.ends}
        choice |= logprobs(said.split(), sure)
        answer = {"id": f"{prefix}{request_id}", "model": body["model"], "choices": [choice]}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": orjson.dumps(answer)})

    async def nothing(*_: Any) -> Any:
        return None

    async def rolled(action: str, options: dict[str, Any]) -> RolloutResult:
        made.rolled.append((action, options))
        lob = options.get("lob") or options["name"].partition("@")[0]
        return RolloutResult(action, lob, None, None, None, 1, 1, 0.0)

    async def viewed(*_: Any) -> Any:
        return {"object": "config"}

    async def sink(payloads: list[bytes]) -> None:
        await interactions.save(sqlite_db, [to_record(payload) for payload in payloads])

    registry = Registry(sqlite_db, str(tmp_path / "adapters"))
    adapters = AdapterManager(
        cast(Any, None),
        registry,
        Table("base", LOBS, {"care": Route(lob="care", live="care@2", epoch=2)}),
        base_hash="",
        base_folder=None,
        max_rank=8,
        cache_dir=tmp_path,
        upstreams={name: its.model for name, its in settings.upstreams.items()},
    )
    adapters.loaded["care@2"] = adapters.loaded["care@3"] = cast(Any, None)
    journal = Journal(tmp_path / "journal", "a")
    into = sink if tracing is None else traced_sink(sink, tracing)
    drainer = Drainer(tmp_path / "journal", journal, into, wait_s=600)
    chains = Chains(engine, lambda: None, adapters, settings)
    tokens = SpecialTokens(["<|im_start|>", "<|im_end|>"])
    storing = Storing(sqlite_db, {}, None)
    reviewing = Reviewing(sqlite_db, settings.lobs, None, storing)
    guarding = Guarding(settings, tokens, chains.upstream, reviewing)
    health = Health(
        "r",
        store=(),
        journal=journal,
        drainer=drainer,
        limit_bytes=1 << 20,
        guards=guarding.alarms,
    )
    models = Models.of(settings, chains.upstream)
    transcriber = Transcriber(settings.transcription)
    limits = {"": settings.limits.base} | {n: lob.limits for n, lob in settings.lobs.items()}
    own = api.build(
        db=sqlite_db,
        registry=registry,
        drainer=drainer,
        health=health,
        storing=storing,
        adapters=adapters,
        base="base",
        ready=cast(Callable[[], Any], nothing),
        rollouts=rolled,
        reviewing=reviewing,
        models=models,
        costs=settings.costs,
        speech=transcriber.names,
    )
    own.include_router(config.router(viewed, cast(Any, nothing)))
    own.include_router(transcriptions.router(transcriber))
    own.include_router(realtime.router(transcriber))
    kept = Files(
        sqlite_db,
        FileStorage(str(tmp_path / "files")),
        FileLimits(file=1 << 20, quota=3 << 20, line=settings.http.body_limit_bytes),
    )
    own.include_router(files.router(kept))
    own.include_router(batches.router(sqlite_db))
    own.include_router(fine_tuning.router(sqlite_db, lambda: adapters.table, settings.fine_tuning))
    keys = KeyRing(sqlite_db, refresh_s=600)
    admission = Admission(
        settings.limits,
        limits,
        places=PLACES,
        levels=Priorities(settings.limits.priorities).levels,
    )
    prompts = load(Path("configs/prompts"), LOBS)
    unseen = Shadows(engine, adapters, admission, partial(shadows.add, sqlite_db), settings, chains)
    libraries = Libraries(sqlite_db, settings.lobs, models.embedder, models.own)
    gateway = Gateway(
        engine_app=traced_engine(engine),
        api_app=own,
        keys=keys,
        adapters=adapters,
        admission=admission,
        shadows=unseen,
        guarding=guarding,
        libraries=libraries,
        chains=chains,
        journal=journal,
        prompts=prompts,
        sampling_fields=frozenset(
            {"n", "stream", "max_tokens", "temperature", "chat_template_kwargs"}
        ),
        special_tokens=tokens,
        template=ChatTemplate(),
        health=health,
        settings=settings,
        replica="r",
        tracing=tracing,
    )
    gateway.console = console.build(gateway, sqlite_db, keys)
    made = Site(sqlite_db, gateway, journal, drainer, keys)
    made.adapters, made.admission, made.shadows = adapters, admission, unseen
    made.settings, made.prompts, made.reviewing = settings, prompts, reviewing
    made.files, made.libraries, made.chains = kept, libraries, chains
    made.transcriber = transcriber
    await models.start()
    await transcriber.start()
    await keys.start()
    draining = asyncio.create_task(drainer.run())
    yield made
    await unseen.stop()
    draining.cancel()
    await keys.stop()
    await libraries.close()
    await models.close()
    await transcriber.close()
    await chains.close()
    journal.close()


@pytest.fixture
async def address(site: Site) -> AsyncIterator[str]:
    """The replica, listening on a port."""
    import uvicorn

    config = uvicorn.Config(site.gateway, port=0, lifespan="off", log_level="error", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until_async(lambda: server.started, "the server listens")
    (port,) = {one.getsockname()[1] for each in server.servers for one in each.sockets}
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


@pytest.fixture
async def page(address: str) -> AsyncIterator[Any]:
    """A page of a browser on it."""
    async with chromium.opened(address) as made:
        yield made


@pytest.fixture(scope="session")
def vllm_bodies() -> dict[str, tuple[Any, dict[str, Any]]]:
    """By endpoint, vLLM's own model of its body, and what a body needs at least."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own modules, which this imports
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

    messages = [{"role": "user", "content": "hello"}]
    return {
        endpoints.CHAT_COMPLETIONS: (ChatCompletionRequest, {"messages": messages}),
        endpoints.COMPLETIONS: (CompletionRequest, {"prompt": "hello"}),
        endpoints.RESPONSES: (ResponsesRequest, {"input": "hello"}),
    }
