"""A stream of a chat or a completion on its way through guards that may refuse it, by sentences.

Nothing goes out before the first sentence is checked, so that a guard that fails is answered by its
status. After that each sentence goes out as soon as it is complete and nothing was found in it. At
a finding the stream ends with `content_filter`, and the engine is told to stop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import orjson

from serving import errors
from serving.asgi import Message, Send
from serving.capture.interaction import DONE, Capture
from serving.errors import SwitchboardError
from serving.gateway.guarding import filtered
from serving.gateway.guarding.ending import Ending
from serving.gateway.guarding.growing import Growing, Piece
from serving.gateway.guarding.untrusted import texts
from serving.guards.decision import Decision, decide
from serving.guards.verdict import Verdict
from serving.observability import metrics

Check = Callable[[Piece], Awaitable[list[Verdict]]]
_SENTENCES = frozenset({"content", "reasoning", "reasoning_content", "refusal"})
_NO_TEXT = frozenset({"role"})


class BySentence:
    """Takes the messages of a stream, and passes its events on once their text is checked.

    Args:
        check: Returns what was found in new sentences.
        capture: Gets what was found.
        send: The client's side, behind the capture.
    """

    def __init__(self, check: Check, capture: Capture, send: Send) -> None:
        self.over = asyncio.Event()
        """Set when nothing more of the engine's is wanted."""
        self._check_piece = check
        self._capture = capture
        self._send = send
        self._start: Message | None = None
        self._begun = False
        self._bytes = b""
        self._waiting: deque[tuple[bytes, list[tuple[Growing, int]]]] = deque()
        self._ending = Ending()
        self._texts: dict[int, dict[str, Growing]] = {}
        self._finished: set[int] = set()
        self._last: dict[str, Any] = {}
        self._completion = False
        self._error: SwitchboardError | None = None

    async def send(self, message: Message) -> None:
        """Take a message of the engine's."""
        if self.over.is_set():
            return
        if message["type"] == "http.response.start":
            self._start = dict(message)
            return
        if self._start is None or self._start["status"] != 200:  # no text of the model's
            await self._begin()
            await self._send(message)
            return
        *events, self._bytes = (self._bytes + message.get("body", b"")).split(b"\n\n")
        try:
            for event in events:
                if not self.over.is_set():
                    await self._event(event + b"\n\n")
            if not (message.get("more_body", False) or self.over.is_set()):
                await self._end()
        except SwitchboardError as exc:
            self._error = exc
            self.over.set()

    async def finish(self) -> None:
        """Say what went wrong, if anything did.

        Raises:
            GuardUnavailable: A guard that may refuse the stream failed before it began.
        """
        if self._error is None:
            return
        if not self._begun:
            raise self._error
        event = b"data: " + orjson.dumps(errors.body(self._error)) + b"\n\n"
        await self._send({"type": "http.response.body", "body": event, "more_body": False})

    async def _event(self, body: bytes) -> None:
        found = _object(body)
        needs = self._read(found)
        self._waiting.append((body, needs))
        for growing, _ in needs:
            await self._check(growing, growing.complete())
        choices = _choices(found)
        ended = [index for index, choice in choices if choice.get("finish_reason")]
        await self._close(*(self._texts if body == DONE or "error" in found else ended))
        if not self.over.is_set():
            await self._release()

    def _read(self, found: Mapping[str, Any]) -> list[tuple[Growing, int]]:
        """Add an event's text to what it goes on with; return how much must pass before it."""
        needs: list[tuple[Growing, int]] = []
        for index, choice in _choices(found):
            its = self._texts.setdefault(index, {})
            self._completion |= "text" in choice
            for name, text in _written(choice):
                growing = its.setdefault(name, Growing(whole=name not in _SENTENCES))
                growing.add(text)
                needs.append((growing, growing.length))
            self._last = {key: found[key] for key in filtered.OF_CHUNK if key in found}
        return needs

    async def _close(self, *indices: int) -> None:
        """Check what is left of some choices."""
        for index in indices:
            for growing in self._texts[index].values():
                await self._check(growing, growing.close())
            if not self.over.is_set():
                self._finished.add(index)

    async def _check(self, growing: Growing, piece: Piece | None) -> None:
        if piece is None or self.over.is_set():
            return
        found = await self._check_piece(piece)
        self._capture.guards += [one.as_json() for one in found]
        if decide(found) is Decision.PASS:
            growing.passed = piece.end
            return
        await self._release()
        await self._refuse()

    async def _release(self, *, ended: bool = False) -> None:
        """Send the events all of whose text has passed, once a sentence has."""
        if not (self._begun or ended or any(one.passed for one in self._growing())):
            return
        while self._waiting and all(one.passed >= end for one, end in self._waiting[0][1]):
            body, _ = self._waiting.popleft()
            if body == DONE:
                await self._pass(*self._ending.close(self._capture.guards), body)
            else:
                await self._pass(*self._ending.take(body))

    async def _end(self) -> None:
        """Send what is left, after the engine's last message."""
        if self._bytes:
            await self._event(self._bytes)
        await self._close(*self._texts)
        if self.over.is_set():
            return
        await self._release(ended=True)
        await self._pass(*self._ending.close(self._capture.guards))
        await self._begin()
        await self._send({"type": "http.response.body", "body": b""})

    async def _refuse(self) -> None:
        """End the stream of all choices."""
        self.over.set()
        left = sorted(self._texts.keys() - self._finished)
        for body in filtered.endings(self._last, left, completion=self._completion):
            await self._pass(*self._ending.take(body))
        await self._pass(*self._ending.close(self._capture.guards), DONE)
        await self._send({"type": "http.response.body", "body": b""})

    async def _pass(self, *bodies: bytes) -> None:
        for body in bodies:
            await self._begin()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _begin(self) -> None:
        if self._begun or self._start is None:
            return
        self._begun = True
        if self._start["status"] == 200:
            waited = time.perf_counter() - self._capture.clock
            metrics.FIRST_SENTENCE.labels(self._capture.endpoint).observe(waited)
        await self._send(self._start)

    def _growing(self) -> Iterator[Growing]:
        for its in self._texts.values():
            yield from its.values()


def _choices(found: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Return an event's choices, each with its index."""
    choices = found.get("choices")
    return [
        (choice.get("index", place), choice)
        for place, choice in enumerate(choices if isinstance(choices, list) else ())
        if isinstance(choice, dict)
    ]


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of an event, empty where it holds none."""
    if not body.startswith(b"data:"):
        return {}
    try:
        found = orjson.loads(body[5:])
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _written(choice: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what an event adds to a choice: where to, and the text."""
    if isinstance(choice.get("text"), str):
        yield "content", choice["text"]
    delta = choice.get("delta")
    for key, value in delta.items() if isinstance(delta, dict) else ():
        if key == "tool_calls" and isinstance(value, list):
            for place, call in enumerate(value):
                if isinstance(call, dict):
                    function = call.get("function")
                    function = function if isinstance(function, dict) else {}
                    parts = [function.get("name"), function.get("arguments")]
                    said = "".join(part for part in parts if isinstance(part, str))
                    yield f"tool_calls.{call.get('index', place)}", said
        elif key not in _NO_TEXT:
            said = value if isinstance(value, str) else "\n".join(texts(value))
            if said:
                yield key, said
