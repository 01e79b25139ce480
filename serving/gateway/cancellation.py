"""Ends an answer early, at its deadline or when the client leaves, so that the engine stops too.

vLLM aborts a generation when its handler reads `http.disconnect`. Cancelling the handler's caller
is not enough: a request without streaming runs in a task of its own, which `with_cancellation`
leaves behind when it is itself cancelled, and the engine would generate to the end for nobody. So
the engine's app runs in a task that is never cancelled first: it is told that the client left.
"""

import asyncio
from typing import Protocol

from serving.admission.deadline import Deadline
from serving.asgi import App, Message, Receive, Scope, Send
from serving.errors import SwitchboardError
from serving.observability import metrics

CLIENT_LEFT = 499  # as nginx and HAProxy call it; only our metrics show it
GRACE_S = 2.0
_GONE = {"type": "http.disconnect"}


class Answer(Protocol):
    """What takes a response's messages."""

    @property
    def lob(self) -> str:
        """The line of business, as metrics call it."""

    @property
    def ending(self) -> bool:
        """Whether all is answered but for the last bytes."""

    async def send(self, message: Message) -> None:
        """Take a message of the engine's."""

    def stop(self, status: int) -> bool:
        """Let nothing more through; whether the response has begun."""

    async def fail(self, error: SwitchboardError) -> None:
        """End a response that has begun with an error."""


class _Listener:
    """The engine's `receive`: the body, then what the client does, then that it has left."""

    __slots__ = ("_body", "_ended", "_receive", "_receiving")

    def __init__(self, body: bytes | None, receive: Receive) -> None:
        self._body = body
        self._receive = receive
        self._receiving: asyncio.Task[Message] | None = None
        self._ended = False

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._has_ended():
            return dict(_GONE)
        self._receiving = asyncio.ensure_future(self._receive())
        try:
            return await self._receiving
        except asyncio.CancelledError:
            if not self._has_ended():
                raise
            return dict(_GONE)

    def _has_ended(self) -> bool:
        return self._ended

    def end(self) -> None:
        """Say that the client has left, now and whenever asked again."""
        self._ended = True
        if self._receiving is not None:
            self._receiving.cancel()


async def run(
    app: App,
    scope: Scope,
    body: bytes | None,
    receive: Receive,
    answer: Answer,
    deadline: Deadline,
) -> None:
    """Let the engine's app answer; returns or raises when it is done with the request.

    Args:
        app: vLLM's OpenAI app, or the fallback chain around it.
        scope: The ASGI scope it sees.
        body: The whole request body; None for an app that has it already.
        receive: The client's side, whose body has been read.
        answer: Takes the response's messages.
        deadline: When the response must be complete.

    Raises:
        DeadlineExceeded: It passed before the first byte was sent. Later, a stream ends with an
            error event instead.
        asyncio.CancelledError: We were cancelled, as Serve does when the client leaves.
    """
    left = deadline.left()
    listener = _Listener(body, receive)
    task = asyncio.ensure_future(app(scope, listener, answer.send))
    try:
        done, _ = await asyncio.wait((task,), timeout=left)
    except asyncio.CancelledError:
        answer.stop(CLIENT_LEFT)
        await _end(task, listener)
        raise
    if answer.ending and not done:
        done, _ = await asyncio.wait((task,), timeout=GRACE_S)
    if done:
        task.result()
        return
    error = deadline.error()
    metrics.REJECTED.labels(answer.lob, "deadline").inc()
    begun = answer.stop(error.status)
    await _end(task, listener)
    if not begun:
        raise error
    await answer.fail(error)


async def until(stop: asyncio.Event, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an app answer, and tell it that its client left as soon as `stop` is set."""
    listener = _Listener(None, receive)
    task = asyncio.ensure_future(app(scope, listener, send))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await _end(task, listener)
        raise
    finally:
        stopped.cancel()
    if stop.is_set():
        await _end(task, listener)
    else:
        task.result()


async def _end(task: "asyncio.Future[None]", listener: _Listener) -> None:
    """Tell the app that its client left, and wait until it has let go of the engine."""
    listener.end()
    done, _ = await asyncio.wait((task,), timeout=GRACE_S)
    if not done:
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=GRACE_S)
    if done and not task.cancelled():
        task.exception()  # what it says to a client that left is of no interest
