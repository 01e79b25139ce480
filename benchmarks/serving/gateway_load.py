"""The client of ``gateway_alone.py``: as little as a client can be, not to measure itself.

It writes prepared bytes to connections that stay open and looks only for an answer's first byte
and its end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import NamedTuple, cast

from gateway_server import LINE

PROMPT_WORDS = 400
_CHUNKED_END = b"0\r\n\r\n"
_STREAM_END = b"data: [DONE]\n\n"


class Times(NamedTuple):
    """Milliseconds from a request's first byte to its answer's first, and to its last."""

    first_ms: float
    whole_ms: float


def request(key: str, *, stream: bool) -> bytes:
    """Return a chat of some 512 tokens as it goes over a connection."""
    content = " ".join(f"word{number}" for number in range(PROMPT_WORDS))
    messages = [
        {"role": "system", "content": "You help an agent of a contact center."},
        {"role": "user", "content": content},
    ]
    asked = {"model": LINE, "messages": messages, "max_tokens": 48, "temperature": 0}
    body = json.dumps(asked | {"stream": stream}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"x-conversation-id: conversation-1\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Times] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what writes."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is asked."""
        self._fail(f"the connection was closed: {exc}")

    async def ask(self, data: bytes) -> Times:
        """Send a request and wait for all of its answer.

        Raises:
            RuntimeError: It is not one with the status 200, or a stream without its end.
        """
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._left, self._tail = b"", -1, b""
        self._began, self._first = time.perf_counter(), 0.0
        self._transport.write(data)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Look for the head's end, the first byte after it and the last one."""
        now = time.perf_counter()
        if self._left == -1:  # the head is not whole
            head, blank, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head
            if not blank:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(f"{head[:60]!r}: {data[:300]!r}")
                return
            self._left = _length(head)
        if data and not self._first:
            self._first = now
        self._tail = (self._tail + data)[-64:]
        if self._left is None:
            ended = self._tail.endswith(_CHUNKED_END)
            if ended and _STREAM_END not in self._tail:
                self._fail(f"a stream has no end: {self._tail!r}")
                return
        else:
            self._left -= len(data)
            ended = self._left <= 0
        if ended and self._answer is not None and not self._answer.done():
            first, whole = self._first - self._began, now - self._began
            self._answer.set_result(Times(first * 1e3, whole * 1e3))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(RuntimeError(why))


def _length(head: bytes) -> int | None:
    """The body's length; None where it comes in chunks."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


class Client:
    """Connections to one server.

    Args:
        port: Where it listens on loopback.
        key: The server's.
    """

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._requests = {stream: request(key, stream=stream) for stream in (False, True)}
        self._free: list[Connection] = []

    async def ask(self, *, stream: bool) -> Times:
        """Ask once, on a connection of its own; raises RuntimeError as `Connection.ask` does."""
        connection = self._free.pop() if self._free else await self._connect()
        times = await connection.ask(self._requests[stream])
        self._free.append(connection)
        return times

    async def connect(self, count: int) -> None:
        """Have so many connections ready."""
        while len(self._free) < count:
            self._free.append(await self._connect())

    async def hold(
        self, inflight: int, each: int, seconds: float, *, stream: bool
    ) -> list[list[Times]]:
        """Keep so many requests in flight, begun evenly over the time that one takes.

        Args:
            inflight: How many clients ask one request after the other.
            each: How many each asks.
            seconds: About what an answer takes, over which the clients' beginnings are spread.
            stream: Whether streams are asked for.

        Returns:
            By client, its times.
        """
        await self.connect(inflight)

        async def one(number: int) -> list[Times]:
            await asyncio.sleep(seconds * number / inflight)
            return [await self.ask(stream=stream) for _ in range(each)]

        return await asyncio.gather(*map(one, range(inflight)))

    async def arrive(self, times: Sequence[float], *, stream: bool) -> list[Times]:
        """Ask at given times, whatever else is not answered yet; return what each took."""
        began = time.perf_counter()
        tasks = []
        for at in times:
            if (wait_s := began + at - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.ensure_future(self.ask(stream=stream)))
        return await asyncio.gather(*tasks)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        return connection
