"""One step's try at an answer, its response held back until the first byte of content.

A step that fails before its first byte leaves no trace on the wire, so the next one can be asked.
From the first byte on, messages pass straight through.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import orjson

from serving.asgi import Disconnected, Message, Receive, Send
from serving.errors import InvalidRequest, SwitchboardError, UpstreamFailed
from serving.fallback import policy
from serving.fallback.policy import Reason, Step

logger = logging.getLogger(__name__)
_ERROR_EVENT = b'data: {"error"'


class Client:
    """Listens for the client's leaving, once for all steps of a request."""

    def __init__(self, receive: Receive) -> None:
        self.left = asyncio.ensure_future(_until_gone(receive))

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.left.done()

    def close(self) -> None:
        """Stop listening."""
        self.left.cancel()


async def _until_gone(receive: Receive) -> None:
    with suppress(Exception):  # a connection that cannot be heard is gone
        while (await receive())["type"] != "http.disconnect":
            pass


class Attempt:
    """One step's try.

    Args:
        step: Which step.
        client: The client's side, listening.
        send: The client's side, behind the capture.
        begin: Called at the first byte: nothing can fall back any more.
        stream: Whether the request asks for a stream.
    """

    def __init__(
        self, step: Step, client: Client, send: Send, begin: Callable[[], None], *, stream: bool
    ) -> None:
        self.begun = False
        self.loading = False
        self._step = step
        self._client = client
        self._send = send
        self._begin = begin
        self._stream = stream
        self._reason: Reason | None = None
        self._start: Message | None = None
        self._over = asyncio.get_running_loop().create_future()

    async def run(
        self, work: Coroutine[Any, Any, None], limit_s: float, grace_s: float
    ) -> Reason | None:
        """Let `work` answer through `send`.

        Args:
            work: Asks the step.
            limit_s: The longest wait for the first byte.
            grace_s: Given to work that listens to `receive`, to end by itself when it is given up.

        Returns:
            Why the step did not answer, or None if it did.

        Raises:
            Disconnected: The client left before the first byte.
            Exception: The step failed after its first byte.
        """
        timer = asyncio.get_running_loop().call_later(limit_s, self._expire)
        self._client.left.add_done_callback(self._end)
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and grace_s:
                await asyncio.wait({task}, timeout=grace_s)
            if task.done():
                task.result()
        except Exception as exc:
            if self.begun:
                raise
            self._failed(exc)
        finally:
            timer.cancel()
            self._client.left.remove_done_callback(self._end)
            self._end()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                if not task.cancelled():
                    task.exception()  # it was given up: how it ended tells nothing
        if self.begun:
            return None
        if self._reason is None and self._client.gone:
            raise Disconnected
        return self._reason or "error"

    def receive(self, body: bytes) -> Receive:
        """A `receive` that gives `body`, and then that the client left or we gave up."""
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.wait({self._over})
            return {"type": "http.disconnect"}

        return receive

    async def send(self, message: Message) -> None:
        """Take one ASGI message of the response."""
        if self.begun:
            await self._send(message)
            return
        if self._over.done() or self._reason is not None:
            return
        if message["type"] == "http.response.start":
            self._reason = policy.failure(
                message["status"], upstream=self._step.upstream is not None
            )
            self._start = message
            return
        chunk = message.get("body", b"")
        if not chunk and message.get("more_body", False):
            return
        if self._stream and chunk.startswith(_ERROR_EVENT) and _is_servers_fault(chunk):
            self._reason = "error"
            return
        self.begun = True
        self._begin()
        if self._start is not None:
            await self._send(self._start)
        await self._send(message)

    def _expire(self) -> None:
        if not self.begun and not self._over.done():
            self._reason = self._reason or ("adapter" if self.loading else "slow")
            self._end()

    def _end(self, _: object = None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _failed(self, exc: Exception) -> None:
        if self._reason is None:
            if isinstance(exc, UpstreamFailed):
                self._reason = "connection"
            elif isinstance(exc, InvalidRequest):  # from rendering: the request was checked
                self._reason = "prompt"
            elif isinstance(exc, SwitchboardError):
                self._reason = "adapter"
            else:
                self._reason = "error"
        logger.warning("%s failed: %s: %s", self._step.name, type(exc).__name__, exc)


def _is_servers_fault(event: bytes) -> bool:
    """Whether a stream's first event, an error, is not the client's fault."""
    error = orjson.loads(event[len(b"data: ") :])["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return not (isinstance(code, int) and 400 <= code < 500)
