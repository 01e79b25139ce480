"""Adds to a structured answer what of it can be relied on.

It stands behind guards, rules and fallback chains, so whoever wrote the text, an upstream included,
is checked alike. OpenAI's clients pass over fields of a choice that they do not know.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from serving.asgi import App, Message, Receive, Scope, Send
from serving.fallback.engine_request import EngineRequest
from serving.gateway.structured import insights, reading
from serving.gateway.tasks import TaskRequest

Read = Callable[[str, str | None], dict[str, Any]]
"""From a choice's text and `finish_reason` to what is told of it."""
_LENGTH = b"content-length"


def told(app: App, request: EngineRequest, task: TaskRequest | None) -> App:
    """Return what answers as `app` does, with what of its JSON can be relied on in each choice.

    A structured summary's choices have the field `structure`, an insight's the field `insights`.

    Args:
        app: What answers.
        request: As the engine gets it.
        task: What was asked, where it was a task.
    """
    insight = request.capture.task == "insight"
    if task is None or not (task.structured or insight):
        return app
    schema = request.body["response_format"]["json_schema"]["schema"]
    if insight:
        its = partial(insights.read, schema=schema, turns=task.turns, guess=task.guess)
        return adding(app, "insights", its, stream=request.capture.stream)
    read = partial(reading.summary, schema=schema, both=task.structured == "both")
    return adding(app, "structure", read, stream=request.capture.stream)


def adding(app: App, name: str, read: Read, *, stream: bool) -> App:
    """Return what answers as `app` does, each choice with one more field.

    Args:
        app: What answers with chat completions.
        name: The field.
        read: Gives its value.
        stream: Whether the answer is a stream; then the event with a choice's `finish_reason` has
            the field.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _Teller(send, name, read, stream=stream).send)

    return answer


class _Teller:
    """Takes the messages of one answer."""

    def __init__(self, send: Send, name: str, read: Read, *, stream: bool) -> None:
        self._send, self._name, self._read, self._stream = send, name, read, stream
        self._start: Message = {}
        self._bytes = b""
        self._texts: dict[int, str] = {}

    async def send(self, message: Message) -> None:
        """Take a message."""
        if message["type"] == "http.response.start":
            self._start = dict(message)
            if self._stream or message["status"] != 200:
                await self._send(message)
            return
        if message["type"] != "http.response.body" or self._start.get("status") != 200:
            await self._send(message)
            return
        more = message.get("more_body", False)
        self._bytes += message.get("body", b"")
        if self._stream:
            *events, self._bytes = self._bytes.split(b"\n\n")
            for event in events:
                await self._pass(self._event(event) + b"\n\n", more_body=True)
            if not more:
                await self._pass(self._bytes, more_body=False)
        elif not more:
            body = self._whole(self._bytes)
            headers = [(n, v) for n, v in self._start.get("headers", ()) if n.lower() != _LENGTH]
            headers.append((_LENGTH, b"%d" % len(body)))
            await self._send({**self._start, "headers": headers})
            await self._pass(body, more_body=False)

    async def _pass(self, body: bytes, *, more_body: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})

    def _event(self, event: bytes) -> bytes:
        return b"data: " + self._whole(event[6:]) if event.startswith(b"data: {") else event

    def _whole(self, body: bytes) -> bytes:
        """Read a JSON body; return it, with the field in each choice that ends in it."""
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        choices = value.get("choices") if isinstance(value, dict) else None
        changed = False
        for place, choice in enumerate(choices if isinstance(choices, list) else ()):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index", place)
            said = choice.get("delta") if self._stream else choice.get("message")
            content = said.get("content") if isinstance(said, dict) else None
            if isinstance(content, str):
                self._texts[index] = self._texts.get(index, "") + content
            reason = choice.get("finish_reason")
            if reason or not self._stream:
                choice[self._name] = self._read(self._texts.get(index, ""), reason)
                changed = True
        return orjson.dumps(value) if changed else body
