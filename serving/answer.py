"""The response on its way out: named, captured, and durable before its last byte.

Per chunk this appends one reference to a list and compares a few bytes; chunks are passed on as
they come. A stream's token counts are asked of vLLM also where the client did not, and that extra
chunk is kept from the client.
"""

import time
from typing import Any

from serving import metrics
from serving.capture import DONE, Capture, Status
from serving.errors import JournalFull
from serving.http import Message, Send
from serving.journal import Journal

_RESPONSE_ENDS = (
    b"event: response.completed",
    b"event: response.incomplete",
    b"event: response.failed",
)
_USAGE_ONLY = b'"choices":[],'


class Answer:
    """Passes a response's messages on.

    Args:
        send: The client's side.
        capture: What is kept; its version is named in the header `x-switchboard-version`.
        journal: Where it becomes durable.
        hide_usage: Keep the stream's token counts, which only we asked for, from the client.
    """

    __slots__ = (
        "_capture",
        "_headers",
        "_hide_usage",
        "_journal",
        "_ok",
        "_send",
        "_status",
        "_written",
    )

    def __init__(self, send: Send, capture: Capture, journal: Journal, *, hide_usage: bool) -> None:
        self._send = send
        self._capture = capture
        self._journal = journal
        self._headers = [(b"x-switchboard-version", capture.version.encode())]
        self._hide_usage = hide_usage
        self._ok = False
        self._status = 0
        self._written = False

    async def send(self, message: Message) -> None:
        """Pass a message on; before the response's last byte, make the interaction durable."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._ok = self._status == 200
            message["headers"] = [*message.get("headers", ()), *self._headers]
            await self._send(message)
            return
        if self._ok and message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            if chunk:
                capture = self._capture
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

    def close(self) -> None:
        """Record a response that was cut short, and count the request."""
        capture = self._capture
        if self._ok and not self._written:
            self._written = True
            try:
                self._journal.append(capture.payload("aborted"))
            except (JournalFull, OSError):
                metrics.CAPTURE_LOST.inc()
        now = time.perf_counter()
        metrics.REQUESTS.labels(
            capture.endpoint, capture.lob or "", capture.version, str(self._status)
        ).inc()
        metrics.LATENCY.labels(capture.endpoint).observe(now - capture.clock)
        if capture.stream and capture.first is not None:
            metrics.TTFT.labels(capture.endpoint).observe(capture.first - capture.clock)


def ask_for_usage(path: str, request: dict[str, Any]) -> bool:
    """Have vLLM count the tokens of a stream; True if the client did not ask for the count."""
    if path == "/v1/responses":
        return False
    options = request.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        return False
    if options is None or isinstance(options, dict):
        request["stream_options"] = {**(options or {}), "include_usage": True}
        return True
    return False
