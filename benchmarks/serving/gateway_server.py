"""The gateway on a port of its own, with a stand-in for vLLM's app behind it, or that app alone.

    python benchmarks/serving/gateway_server.py gateway|alone [--core 0]

For ``gateway_alone.py`` only, which starts it twice. **The stand-in is no engine and no part of
Switchboard**: it sends the bytes of a chat of 48 tokens at a pace that it is told, so that what is
left of the time is the gateway's. All else is real: keys, admission, routing, guards, the journal,
the drainer and a store (SQLite), in one process on one event loop, as in a replica; Ray Serve and
HAProxy are not there.

Says on stdout, in JSON, its port and a key; then answers each line on stdin with one on stdout:
``{"pace_s": 0.02}`` sets the pace, ``{"settle": true}`` waits until all is stored and says what it
cost so far.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import orjson
import uvicorn
import uvloop
from target import ROOT

sys.path.append(str(ROOT))

from serving import auth
from serving.adapters.manager import AdapterManager
from serving.adapters.registry import Registry
from serving.admission.fair_queue import Admission
from serving.admission.priority import Priorities
from serving.asgi import App, Receive, Scope, Send, read_body
from serving.capture import Drainer, Journal
from serving.capture.health import Health
from serving.capture.storing import Storing
from serving.chat_template import ChatTemplate
from serving.config.prompts import load
from serving.config.settings import Settings
from serving.embedding.models import Models
from serving.fallback.chain import Chains
from serving.gateway.app import Gateway
from serving.gateway.guarding.checks import Guarding
from serving.gateway.shadow import Shadows
from serving.knowledge.libraries import Libraries
from serving.routing import Table
from serving.store.database import Database
from serving.store.records import Route
from serving.untrusted_text import SpecialTokens

TOKENS = 48
LINE = "care"
PLACES = 4096  # more than any cell has in flight: nobody waits for a place
FLUSH_S = 60.0
_WORDS = [f" word{number}" for number in range(TOKENS)]
_HEAD = b'data: {"id":"%b","object":"chat.completion.chunk","created":1,"model":"stand-in",'
_TOKEN = b'"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":%b}]}\n\n'
_USAGE = (
    b'"choices":[],"usage":{"prompt_tokens":512,"total_tokens":560,"completion_tokens":48}}\n\n'
)
_WHOLE = (
    b'{"id":"%b","object":"chat.completion","created":1,"model":"stand-in","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%b"},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":512,"total_tokens":560,"completion_tokens":48}}'
)
_ENDS = [b"null"] * (TOKENS - 1) + [b'"stop"']
_TOKENS = [_TOKEN % pair for pair in zip((w.encode() for w in _WORDS), _ENDS, strict=True)]
_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]


class StandIn:
    """Answers chats as vLLM's app does, as far as bytes and ASGI go, and computes nothing.

    Attributes:
        pace_s: From a request to its first token, and from token to token; 0 sends all at once.
    """

    def __init__(self) -> None:
        self.pace_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: each token an event of its own, or all in one body."""
        began = time.monotonic()
        headers = dict(scope["headers"])
        asked = orjson.loads(await read_body(headers, receive, 1 << 20))
        id_ = b"chatcmpl-" + (headers.get(b"x-request-id") or uuid.uuid4().hex.encode())
        # As vLLM's app does, it listens for the client's leaving.
        answering = asyncio.current_task()
        assert answering is not None
        listening = asyncio.ensure_future(_gone(receive, answering))
        try:
            if asked.get("stream"):
                await self._stream(began, id_, send)
                return
            await _until(began + TOKENS * self.pace_s)
            body = _WHOLE % (id_, "".join(_WORDS).encode())
            length = (b"content-length", b"%d" % len(body))
            start = [(b"content-type", b"application/json"), length]
            await send({"type": "http.response.start", "status": 200, "headers": start})
            await send({"type": "http.response.body", "body": body})
        finally:
            listening.cancel()

    async def _stream(self, began: float, id_: bytes, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM)})
        head, pace_s = _HEAD % id_, self.pace_s
        for number, token in enumerate(_TOKENS, start=1):
            await _until(began + number * pace_s)
            await send({"type": "http.response.body", "body": head + token, "more_body": True})
        for event in (head + _USAGE, b"data: [DONE]\n\n"):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until(at: float) -> None:
    """Wait for a time of the monotonic clock; late already, let others go on."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))


async def _gone(receive: Receive, answering: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()


@asynccontextmanager
async def gateway(engine: App, folder: Path) -> AsyncIterator[tuple[Gateway, Drainer, str]]:
    """Put a gateway before an engine's app, as `serving.cluster.replica` does but for Ray's part.

    Args:
        engine: What answers.
        folder: Gets the store and the journal.

    Yields:
        The gateway, what moves its journal to the store, and a key for the line `LINE`.
    """
    settings = Settings.model_validate({"model": "m", "served_name": "base", "lobs": {LINE: {}}})
    db = Database(f"sqlite:///{folder / 'store.sqlite'}")
    await db.open()
    key, _ = await auth.create(db, name="benchmark", roles=["service"], lobs=[LINE])
    adapters = AdapterManager(
        cast(Any, None),  # nothing is loaded: what it has is set below
        Registry(db, str(folder / "adapters")),
        Table("base", [LINE], {LINE: Route(lob=LINE, live=f"{LINE}@2", epoch=2)}),
        base_hash="",
        base_folder=None,
        max_rank=8,
        cache_dir=folder,
    )
    adapters.loaded[f"{LINE}@2"] = cast(Any, None)
    storing = Storing(db, settings.lobs, None)
    journal = Journal(folder / "journal", "replica", limit_bytes=settings.journal.limit_bytes)
    drainer = Drainer(
        folder / "journal",
        journal,
        storing.interactions,
        batch=settings.journal.batch_records,
        wait_s=settings.journal.batch_s,
    )
    draining = asyncio.create_task(drainer.run())
    chains = Chains(engine, lambda: None, adapters, settings)
    tokens = SpecialTokens(["<|im_start|>", "<|im_end|>"])
    models = Models.of(settings, chains.upstream)
    libraries = Libraries(db, settings.lobs, models.embedder, models.own)
    lines = {"": settings.limits.base, LINE: settings.lobs[LINE].limits}
    levels = Priorities(settings.limits.priorities).levels
    admission = Admission(settings.limits, lines, places=PLACES, levels=levels)
    admission.expose()
    limit = settings.journal.limit_bytes
    await (keys := auth.KeyRing(db)).start()
    made = Gateway(
        engine_app=engine,
        api_app=engine,  # our own endpoints are not asked here
        keys=keys,
        adapters=adapters,
        admission=admission,
        chains=chains,
        journal=journal,
        prompts=load(ROOT / "configs" / "prompts", [LINE]),
        sampling_fields=frozenset({"max_tokens", "stream", "temperature"}),
        special_tokens=tokens,
        template=ChatTemplate(),
        health=Health("r", store=(), journal=journal, drainer=drainer, limit_bytes=limit),
        settings=settings,
        shadows=Shadows(engine, adapters, admission, storing.shadow, settings, chains),
        guarding=Guarding(settings, tokens, chains.upstream),
        libraries=libraries,
        replica="replica",
    )
    try:
        yield made, drainer, key
    finally:
        draining.cancel()
        await keys.stop()
        await libraries.close()
        await chains.close()
        journal.close()
        await db.close()


async def serve(kind: str, folder: Path) -> None:
    """Serve until stdin ends; see the head of this file."""
    engine = StandIn()
    if kind == "alone":
        await _listen(engine, engine, None, "none")
        return
    async with gateway(engine, folder) as (app, drainer, key):
        await _listen(app, engine, drainer, key)


async def _listen(app: Any, engine: StandIn, drainer: Drainer | None, key: str) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # As Ray Serve starts it in a replica; connections stay open between the cells.
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_level="error", timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn gives no event
        await asyncio.sleep(0.01)
    _say({"port": listener.getsockname()[1], "key": key})
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = orjson.loads(line)
        engine.pace_s = asked.get("pace_s", engine.pace_s)
        waiting = 0
        if asked.get("settle") and drainer is not None:
            waiting = drainer.backlog_frames
            await drainer.flush(FLUSH_S)
        _say({"cpu_s": time.process_time(), "not_stored": waiting})
    server.should_exit = True
    await serving


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve on one core."""
    parser = argparse.ArgumentParser(description="Part of gateway_alone.py.")
    parser.add_argument("kind", choices=["gateway", "alone"])
    parser.add_argument("--core", type=int, help="the one to run on")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(serve(options.kind, Path(folder)))


if __name__ == "__main__":
    main()
