"""Upstreams, over real connections to a small server that sends exactly what a test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from serving import ports
from serving.asgi import Message
from serving.config import settings as settings_module
from serving.errors import UpstreamFailed
from serving.fallback.upstream import FIELDS, Upstream, _events
from serving.gateway.response import ask_for_usage

CHAT = "/v1/chat/completions"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Heard:
    """What the server was sent."""

    def __init__(self) -> None:
        self.line = ""
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}


@asynccontextmanager
async def serving(
    *pieces: bytes | asyncio.Event, **changes: Any
) -> AsyncIterator[tuple[Upstream, Heard]]:
    """An upstream whose server answers any request with `pieces`, an event being waited for."""
    heard = Heard()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        heard.line = line
        heard.headers = dict(header.lower().split(": ", 1) for header in headers)
        heard.body = json.loads(await reader.readexactly(int(heard.headers["content-length"])))
        for piece in pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = made(f"http://127.0.0.1:{port}/v1", **changes)
    try:
        yield upstream, heard
    finally:
        await upstream.close()
        server.close()
        await server.wait_closed()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-theirs")


def made(url: str, **changes: Any) -> Upstream:
    given = {"url": url, "model": "big-1", "api_key": "${THEIR_KEY}", "timeout_s": 5} | changes
    return Upstream("big", settings_module.Upstream.model_validate(given))


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def plain(status: str, content: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n".encode()
        + content
    )


async def ask(
    upstream: Upstream, request: dict[str, Any], sink: Callable[[Message], None]
) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)
        sink(message)

    await upstream.answer(
        CHAT,
        upstream.body(CHAT, request),
        send,
        id="chatcmpl-ours",
        stream=request.get("stream") is True,
    )
    return messages


async def answered(upstream: Upstream, **request: Any) -> list[Message]:
    return await ask(upstream, {"messages": [], **request}, lambda _: None)


async def test_a_plain_answer_gets_our_id_and_names_the_upstream() -> None:
    theirs = {"id": "theirs", "model": "big-1", "choices": [1], "usage": {"total_tokens": 3}}
    async with serving(plain("200 OK", json.dumps(theirs).encode())) as (upstream, heard):
        start, body = await answered(upstream, temperature=0)
    assert start["status"] == 200
    assert json.loads(body["body"]) == theirs | {"id": "chatcmpl-ours", "model": "upstream:big"}
    assert heard.line == "POST /v1/chat/completions HTTP/1.1"
    assert heard.body == {"messages": [], "temperature": 0, "model": "big-1"}


async def test_only_our_own_headers_are_sent() -> None:
    async with serving(plain("200 OK", b"{}")) as (upstream, heard):
        await answered(upstream)
    assert heard.headers["authorization"] == "bearer sk-theirs"
    assert heard.headers["x-request-id"] == "chatcmpl-ours"
    assert {name for name in heard.headers if name.startswith("x-")} == {"x-request-id"}
    async with serving(plain("200 OK", b"{}"), api_key=None) as (upstream, heard):
        await answered(upstream)
    assert "authorization" not in heard.headers


async def test_fields_outside_openai_s_api_are_dropped_unless_configured() -> None:
    request = {"top_k": 5, "structured_outputs": {}, "seed": 1, "store": True, "priority": 1}
    async with serving(plain("200 OK", b"{}"), pass_fields=["top_k"]) as (upstream, heard):
        await answered(upstream, **request)
    assert heard.body == {"messages": [], "seed": 1, "top_k": 5, "model": "big-1"}


def test_every_field_that_is_passed_is_openai_s() -> None:
    chat = chat_create_params.CompletionCreateParamsBase.__annotations__.keys()
    plain_ = completion_create_params.CompletionCreateParamsBase.__annotations__.keys()
    assert FIELDS[CHAT] <= chat | {"stream"}
    assert FIELDS["/v1/completions"] <= plain_ | {"stream", "logprobs"}


async def test_a_stream_is_one_message_an_event_however_the_network_cuts_it() -> None:
    event = {"id": "theirs", "model": "big-1", "choices": [{"delta": {"content": "née\u2028id"}}]}
    text = f": waking up\n\ndata: {json.dumps(event, ensure_ascii=False)}\r\n\r\n".encode()
    usage = b'data: {"id": "theirs", "model": "big-1", "usage": {}, "choices": []}\n\n'
    whole = text + usage + b"data: [DONE]\n\n"
    for size in (1, 7, len(whole)):
        pieces = [chunk(whole[i : i + size]) for i in range(0, len(whole), size)]
        async with serving(HEAD, *pieces, END) as (upstream, _):
            start, *messages = await answered(upstream, stream=True)
        assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
        first, second, done, last = [message["body"] for message in messages]
        assert json.loads(first[6:]) == event | {"id": "chatcmpl-ours", "model": "upstream:big"}
        assert second.startswith(b"data: {")
        assert b'"choices":[],' in second, "answer.py must know the token counts"
        assert (done, last) == (b"data: [DONE]\n\n", b"")
        assert [m.get("more_body", False) for m in messages] == [True, True, True, False]


async def test_the_stream_s_first_event_does_not_wait_for_the_second() -> None:
    seen = asyncio.Event()
    first, done = chunk(b'data: {"choices": [{}]}\n\n'), chunk(b"data: [DONE]\n\n")
    async with serving(HEAD, first, seen, done, END) as (upstream, _):
        request = {"messages": [], "stream": True}
        messages = await ask(upstream, request, lambda m: seen.set() if m.get("body") else None)
    assert len(messages) == 4


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"HTTP/1.1 200 OK\r\n\r\nno json"],
        [plain("200 OK", b"[1]")],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}"],
        [b"nonsense\r\n\r\n"],
    ],
)
async def test_no_usable_answer_is_our_error(pieces: list[bytes]) -> None:
    async with serving(*pieces) as (upstream, _):
        with pytest.raises(UpstreamFailed, match="upstream:big"):
            await answered(upstream)


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD, chunk(b'data: {"choices": [{}]}\n\n'), END],
        [HEAD, chunk(b'data: {"choices": [{}]}\n\n')],
        [HEAD, chunk(b"data: nonsense\n\n"), END],
        [plain("200 OK", b'{"choices": []}')],
    ],
)
async def test_a_stream_that_does_not_end_as_one_is_our_error(pieces: list[bytes]) -> None:
    async with serving(*pieces) as (upstream, _):
        with pytest.raises(UpstreamFailed, match="upstream:big"):
            await answered(upstream, stream=True)


async def test_an_unreachable_upstream_is_our_error() -> None:
    upstream = made(f"http://127.0.0.1:{ports.free()}/v1")
    with pytest.raises(UpstreamFailed, match="does not answer"):
        await answered(upstream)
    await upstream.close()


async def test_an_error_s_status_and_body_come_through() -> None:
    body = b'{"error": {"message": "too long"}}'
    async with serving(plain("400 Bad Request", body)) as (upstream, _):
        start, message = await answered(upstream, stream=True)
    assert (start["status"], message["body"]) == (400, body)


def test_task_requests_ask_for_usage_in_a_field_that_passes() -> None:
    request: dict[str, Any] = {"stream": True}
    assert ask_for_usage(CHAT, request)
    assert request.keys() <= FIELDS[CHAT]


@given(st.lists(st.binary(max_size=20)), st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_events_do_not_depend_on_how_bytes_are_cut(datas: list[bytes], size: int) -> None:
    datas = [data.replace(b"\n", b"").replace(b"\r", b"").strip() for data in datas]
    whole = b"".join(b"event: x\ndata: " + data + b"\n\n" for data in datas)

    async def cut() -> AsyncIterator[bytes]:
        for i in range(0, len(whole), size):
            yield whole[i : i + size]

    async def collect() -> list[bytes]:
        return [data async for data in _events(cut())]

    assert asyncio.run(collect()) == datas


def json_answer(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def test_another_endpoint_s_answer_is_an_object_with_its_status() -> None:
    async with serving(json_answer(b'{"data": []}')) as (upstream, heard):
        assert await upstream.ask("/embeddings", {"input": ["a"]}) == (200, {"data": []})
    assert heard.line == "POST /v1/embeddings HTTP/1.1"
    assert heard.body == {"input": ["a"], "model": "big-1"}
    assert heard.headers["authorization"] == "bearer sk-theirs"
    async with serving(json_answer(b"<html>", "502 Bad Gateway")) as (upstream, _):
        assert await upstream.ask("/rerank", {}) == (502, {})
    async with serving(json_answer(b"nonsense")) as (upstream, _):
        with pytest.raises(UpstreamFailed):
            await upstream.ask("/rerank", {})
