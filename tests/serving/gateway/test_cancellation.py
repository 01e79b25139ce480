"""An answer is ended at its deadline and when its client leaves; the app always learns of it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from serving.admission.deadline import Deadline
from serving.asgi import Message, Receive, Scope, Send
from serving.capture import Journal
from serving.capture.interaction import Capture
from serving.errors import DeadlineExceeded
from serving.gateway.cancellation import run
from serving.gateway.response import ResponseWriter


class Client:
    """What a client sends and what it gets."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.got.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)


class Handler:
    """An app with vLLM's manners: the work is a task of its own, which a disconnect cancels."""

    def __init__(self, chunks: list[bytes], *, stuck: bool) -> None:
        self.chunks = chunks
        self.stuck = stuck
        self.aborted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"{}"
        work = asyncio.create_task(self.work(send))
        gone = asyncio.create_task(receive())
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        for task in (work, gone):
            task.cancel()
        await asyncio.wait((work, gone))
        if self.aborted:  # what FastAPI makes of a handler that returns nothing
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"null"})

    async def work(self, send: Send) -> None:
        try:
            for i, chunk in enumerate(self.chunks):
                if i == 0:
                    await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if self.stuck:
                await asyncio.sleep(60)
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            self.aborted = True
            raise


def answer(
    client: Client, journal: Journal, *, stream: bool, path: str = "/v1/x"
) -> ResponseWriter:
    capture = Capture(
        id="x",
        endpoint=path,
        task="chat",
        lob="care",
        model_requested="care",
        version="care@1",
        base_model="base",
        key_id=None,
        replica="r",
        request=b"{}",
        stream=stream,
        conversation_id=None,
        turn_position=None,
    )
    return ResponseWriter(client.send, capture, journal, hide_usage=False)


def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, "r", fsync="background", limit_bytes=1 << 20)


def statuses(tmp_path: Path) -> list[str]:
    text = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())
    return [part.split(b'"')[0].decode() for part in text.split(b'"status":"')[1:]]


async def test_answer_in_time_is_passed_through(tmp_path: Path) -> None:
    client, app = Client(), Handler([b"data: 1\n\n"], stuck=False)
    given = answer(client, journal(tmp_path), stream=True)
    await run(app, {}, b"{}", client.receive, given, Deadline(30, time.perf_counter()))
    assert client.body == b"data: 1\n\n"
    assert not app.aborted


async def test_deadline_before_the_first_byte_raises_and_aborts(tmp_path: Path) -> None:
    client, app = Client(), Handler([], stuck=True)
    given = answer(client, journal(tmp_path), stream=False)
    with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        await run(app, {}, b"{}", client.receive, given, Deadline(0.05, time.perf_counter()))
    given.close()
    assert app.aborted
    assert client.got == [], "what the app says to a client that left must not reach it"
    assert statuses(tmp_path) == ["error"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", {"error": {"code": "deadline_exceeded"}}),
        ("/v1/responses", {"type": "error", "code": "deadline_exceeded"}),
    ],
)
async def test_stream_past_its_deadline_ends_with_an_error_event(
    tmp_path: Path, path: str, expected: dict[str, Any]
) -> None:
    client, app = Client(), Handler([b"data: 1\n\n"], stuck=True)
    given = answer(client, journal(tmp_path), stream=True, path=path)
    await run(app, {}, b"{}", client.receive, given, Deadline(0.05, time.perf_counter()))
    given.close()
    assert app.aborted
    assert client.got[-1]["more_body"] is False
    event = orjson.loads(client.body.split(b"data: ")[-1])
    shown = event["error"] if "error" in expected else event
    assert shown.items() >= (expected.get("error") or expected).items()
    assert statuses(tmp_path) == ["aborted"]


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelled_caller_aborts_the_work(tmp_path: Path, stream: bool) -> None:
    client = Client()
    app = Handler([b"data: 1\n\n"] if stream else [], stuck=True)
    given = answer(client, journal(tmp_path), stream=stream)
    running = asyncio.create_task(
        run(app, {}, b"{}", client.receive, given, Deadline(None, time.perf_counter()))
    )
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert app.aborted


async def test_disconnect_that_the_app_reads_itself_aborts_the_work(tmp_path: Path) -> None:
    client, app = Client(), Handler([], stuck=True)
    asyncio.get_running_loop().call_later(0.05, client.left.set)
    given = answer(client, journal(tmp_path), stream=False)
    await run(app, {}, b"{}", client.receive, given, Deadline(None, time.perf_counter()))
    assert app.aborted


async def test_app_s_failure_is_raised(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    client = Client()
    given = answer(client, journal(tmp_path), stream=False)
    with pytest.raises(ValueError, match="broken"):
        await run(app, {}, b"{}", client.receive, given, Deadline(None, time.perf_counter()))
