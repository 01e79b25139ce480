"""Asks the gateway's inference without HTTP, for a batch's line: the same path as any request."""

import asyncio
import logging
from dataclasses import dataclass

import orjson

from serving import errors
from serving.asgi import Message, Receive, Scope, replay
from serving.auth import ApiKey
from serving.errors import Overloaded, SwitchboardError
from serving.gateway.exchange import Exchange
from serving.gateway.inference import Inference

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client would have got: the status, and the body's JSON."""

    status: int
    body: bytes


def refused(error: SwitchboardError) -> Answer:
    """Return an error in OpenAI's shape as an answer."""
    return Answer(error.status, orjson.dumps(errors.body(error)))


async def ask(inference: Inference, key: ApiKey, path: str, body: bytes, id_: str) -> Answer:
    """Have a request answered by spare places; 429 where there are none, or they are needed.

    Args:
        inference: What answers.
        key: Who asks.
        path: The endpoint.
        body: The request's body, JSON.
        id_: The request's id.
    """
    status, parts = 0, list[bytes]()

    async def keep(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "state": {},
    }
    receive: Receive = replay(body, _silence)
    exchange = Exchange(scope, {}, receive, keep, key, id=id_, batch=True)
    # In a task of its own: a request that needs the place cancels it, and not who asks here.
    running = asyncio.ensure_future(inference.answer(exchange))
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait({running})
        raise
    if running.cancelled():
        return refused(Overloaded("A request needed the place."))
    try:
        running.result()
    except SwitchboardError as exc:
        return refused(exc)
    except Exception:
        logger.exception("a batch's line on %s failed", path)
        return refused(SwitchboardError("The server made a mistake; it is logged."))
    return Answer(status, b"".join(parts))


async def _silence() -> Message:
    """What a client says that waits for ever."""
    said: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await said
