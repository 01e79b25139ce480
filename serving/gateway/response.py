"""The response on its way out: named, captured, and durable before its last byte.

Per chunk this appends one reference to a list and compares a few bytes; chunks are passed on as
they come. A stream's token counts are asked of vLLM also where the client did not, and that extra
chunk is kept from the client.
"""

import time
from typing import Any

import orjson

from serving import endpoints, errors
from serving.asgi import Message, Send
from serving.capture import Journal
from serving.capture.interaction import DONE, Capture, Status
from serving.errors import JournalFull, SwitchboardError
from serving.gateway import holdback
from serving.gateway.grounding import telling
from serving.gateway.guarding import filtered
from serving.observability import metrics, usage
from serving.observability.usage import operation

_RESPONSE_ENDS = (
    b"event: response.completed",
    b"event: response.incomplete",
    b"event: response.failed",
)
_USAGE_ONLY = b'"choices":[],'


class ResponseWriter:
    """Passes a response's messages on.

    Args:
        send: The client's side.
        capture: What is kept; its version is named in the header `x-switchboard-version`, and
            whether to show it, where that was drawn, in a header and in the answer.
        journal: Where it becomes durable.
        hide_usage: Keep the stream's token counts, which only we asked for, from the client.
        waited_s: Time in the queue; if there was any, `x-switchboard-queue-ms` names it.
    """

    __slots__ = (
        "_beside",
        "_capture",
        "_hide_usage",
        "_journal",
        "_ok",
        "_send",
        "_status",
        "_stopped",
        "_waited_s",
        "_written",
    )

    def __init__(
        self,
        send: Send,
        capture: Capture,
        journal: Journal,
        *,
        hide_usage: bool,
        waited_s: float = 0.0,
    ) -> None:
        self._send = send
        self._capture = capture
        self._beside = telling.fields(capture.beside)
        self._journal = journal
        self._waited_s = waited_s
        self._hide_usage = hide_usage
        self._ok = False
        self._status = 0
        self._stopped = False
        self._written = False

    @property
    def lob(self) -> str:
        """The line of business, as metrics call it."""
        return self._capture.lob or ""

    @property
    def complete(self) -> bool:
        """Whether all of a good answer was sent."""
        return self._ok and self._written and not self._stopped

    @property
    def ending(self) -> bool:
        """Whether all is answered but for the last bytes."""
        return self._written

    async def send(self, message: Message) -> None:
        """Pass a message on; before the response's last byte, make the interaction durable."""
        if self._stopped:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._ok = self._status == 200
            own = [(b"x-switchboard-version", self._capture.version.encode())]
            if self._waited_s:
                own.append((b"x-switchboard-queue-ms", b"%d" % round(self._waited_s * 1e3)))
            if self._ok and (guards := self._capture.guards):
                own.append(filtered.header(guards))
            theirs = message.get("headers", ())
            if self._ok and (show := self._capture.show) is not None:
                own.append(holdback.header(show))
                theirs = [_longer(one, len(holdback.field(show))) for one in theirs]
            if self._ok and self._beside and not self._capture.stream:
                theirs = [_longer(one, len(self._beside)) for one in theirs]
            message["headers"] = [*theirs, *own]
            await self._send(message)
            return
        if self._ok and message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            if chunk:
                capture = self._capture
                if self._beside and (capture.stream or capture.first is None):
                    chunk = telling.told(chunk, self._beside, stream=capture.stream)
                    message["body"] = chunk
                if capture.show is not None and (capture.stream or capture.first is None):
                    chunk = holdback.told(chunk, capture.show, stream=capture.stream)
                    message["body"] = chunk
                if capture.first is None:
                    capture.first = time.perf_counter()
                capture.chunks.append(chunk)
                if self._hide_usage and _USAGE_ONLY in chunk and chunk.startswith(b"data: {"):
                    return
                if capture.stream and (chunk == DONE or chunk.startswith(_RESPONSE_ENDS)):
                    await self._commit("completed")
            if not message.get("more_body", False):
                await self._commit("completed")
        await self._send(message)

    async def _commit(self, status: Status) -> None:
        if self._written:
            return
        self._written = True
        try:
            await self._journal.commit(self._capture.payload(status))
        except (JournalFull, OSError):  # the journal raises the alarm; the answer is not withheld
            metrics.CAPTURE_LOST.inc()

    def stop(self, status: int) -> bool:
        """Let nothing more of the engine's through.

        Args:
            status: What the request ends with, unless the response has begun.

        Returns:
            Whether it has.
        """
        self._stopped = True
        begun = self._status != 0
        self._status = self._status or status
        return begun

    async def fail(self, error: SwitchboardError) -> None:
        """End a stream that has begun with an error event, as its API shapes one.

        Raises:
            SwitchboardError: The response is no stream: its client sees it break off.
        """
        capture = self._capture
        if not capture.stream:
            raise error
        if capture.endpoint == endpoints.RESPONSES:
            fields = errors.body(error)["error"] | {"type": "error", "sequence_number": 0}
            event = b"event: error\ndata: " + orjson.dumps(fields) + b"\n\n"
        else:
            event = b"data: " + orjson.dumps(errors.body(error)) + b"\n\n"
        await self._send({"type": "http.response.body", "body": event, "more_body": False})

    def close(self) -> None:
        """Record a response that was cut short or is our own failure, and count the request."""
        capture = self._capture
        if not self._written and (self._ok or self._status >= 500):
            self._written = True
            try:
                self._journal.append(capture.payload("aborted" if self._ok else "error"))
            except (JournalFull, OSError):
                metrics.CAPTURE_LOST.inc()
        now = time.perf_counter()
        metrics.REQUESTS.labels(
            capture.endpoint, capture.lob or "", capture.version, str(self._status)
        ).inc()
        metrics.LATENCY.labels(capture.endpoint).observe(now - capture.clock)
        if capture.stream and capture.first is not None:
            metrics.TTFT.labels(capture.endpoint).observe(capture.first - capture.clock)
        self._observe(now)

    def _observe(self, now: float) -> None:
        """Count the request by OpenTelemetry's conventions for generative AI."""
        capture = self._capture
        named = (operation(capture.endpoint), capture.model_requested, capture.version)
        failed = str(self._status) if self._status >= 400 else "aborted"
        fault = "" if self.complete else failed
        metrics.GEN_AI_DURATION.labels(*named, fault).observe(now - capture.clock)
        if fault or not capture.stream or capture.first is None:
            return
        metrics.GEN_AI_FIRST_TOKEN.labels(*named).observe(capture.first - capture.clock)
        _, count = usage.tokens(capture.chunks)
        if count is not None and count > 1:
            metrics.GEN_AI_PER_TOKEN.labels(*named).observe((now - capture.first) / (count - 1))


def _longer(header: tuple[bytes, bytes], by: int) -> tuple[bytes, bytes]:
    """Return a header; `content-length` of a body that is longer by so many bytes."""
    name, value = header
    return (name, b"%d" % (int(value) + by)) if name.lower() == b"content-length" else header


def ask_for_usage(path: str, request: dict[str, Any]) -> bool:
    """Have vLLM count the tokens of a stream; True if the client did not ask for the count."""
    if path == endpoints.RESPONSES:
        return False
    options = request.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        return False
    if options is None or isinstance(options, dict):
        request["stream_options"] = {**(options or {}), "include_usage": True}
        return True
    return False
