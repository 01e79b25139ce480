"""Small ASGI plumbing: read a bounded body, send JSON, send an error."""

import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import numpy as np
import orjson

from serving import errors
from serving.errors import BodyTooLarge, InvalidRequest, SwitchboardError, UnsupportedEncoding

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = dict[bytes, bytes]
DEPTH_LIMIT = 64
"""Parsers and grammar compilers behind us recurse; no real request nests as deep."""
CONTAINERS_LIMIT = 100_000
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as int8: one level down, one up


class Disconnected(Exception):
    """The client left before its request was complete."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit_bytes: int) -> bytes:
    """Read the whole request body, decoded if it is gzip'd.

    Raises:
        BodyTooLarge: It is, or declares to be, or decodes to, more than `limit_bytes`.
        UnsupportedEncoding: It is compressed, and not by gzip.
        InvalidRequest: It is no whole gzip stream.
        Disconnected: The client left.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip"):
        raise UnsupportedEncoding("Send the body as it is, or with content-encoding gzip.")
    body = await _read_raw(headers, receive, limit_bytes)
    return _gunzip(body, limit_bytes) if encoding == b"gzip" else body


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    """Decode a body; stops at the limit, since a few bytes may decode to gigabytes."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        decoded = decoder.decompress(body, limit_bytes + 1)
    except zlib.error as exc:
        raise InvalidRequest(f"The body is not valid gzip: {exc}.") from exc
    if len(decoded) > limit_bytes:
        raise BodyTooLarge(f"The body decodes to more than {limit_bytes} bytes.")
    if not decoder.eof or decoder.unused_data:
        raise InvalidRequest("The body is not one whole gzip stream.")
    return decoded


async def _read_raw(headers: Mapping[bytes, bytes], receive: Receive, limit_bytes: int) -> bytes:
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise BodyTooLarge(f"The body has {int(declared)} bytes; the limit is {limit_bytes}.")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise BodyTooLarge(f"The body exceeds the limit of {limit_bytes} bytes.")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def json_value(body: bytes) -> Any:
    """Parse JSON: valid UTF-8, no lone surrogates, no NaN, of bounded depth and count.

    Raises:
        InvalidRequest: It is not that.
    """
    # Counting bytes is quick; only a body with many brackets can be deep.
    if body.count(b"{") + body.count(b"[") > DEPTH_LIMIT:
        _check_shape(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The body is not valid JSON: {exc}.") from exc


def _check_shape(body: bytes) -> None:
    """Bound lists and objects before they are made: a million would hold the event loop up."""
    steps = np.frombuffer(_STRINGS.sub(b"", body).translate(_STEPS, _NO_BRACKETS), np.int8)
    if int(steps.cumsum(dtype=np.int32).max(initial=0)) > DEPTH_LIMIT:
        raise InvalidRequest(f"The body nests deeper than {DEPTH_LIMIT} levels.")
    if int((steps > 0).sum()) > CONTAINERS_LIMIT:
        raise InvalidRequest(f"The body has more than {CONTAINERS_LIMIT} lists and objects.")


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InvalidRequest: It is not JSON, or not an object.
    """
    value = json_value(body)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def plain_path(path: str) -> str:
    """A path as it is matched: without doubled slashes and a trailing one."""
    return (
        "/" + "/".join(filter(None, path.split("/"))) if "//" in path or path[-1:] == "/" else path
    )


async def send_json(
    send: Send, status: int, value: Any, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answer with a JSON value."""
    body = orjson.dumps(value)
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *(headers or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: SwitchboardError) -> None:
    """Answer with an error in OpenAI's shape."""
    headers = [(name.encode(), value.encode()) for name, value in errors.headers(error).items()]
    await send_json(send, error.status, errors.body(error), headers)


async def deny(scope: Scope, send: Send, error: SwitchboardError) -> None:
    """Refuse a websocket's handshake with an error in OpenAI's shape.

    Where the server cannot send one (ASGI's extension Websocket Denial Response), it sends 403.
    """
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return

    async def denied(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await send_error(denied, error)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` first and then what the client does next."""
    sent = False

    async def receive_again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
