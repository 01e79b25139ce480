"""A newer request for the completion of a turn ends the older one, in the engine too.

Who types on needs no completion of what stood there before. A conversation's requests go to one
replica (`cluster/haproxy.py`), and there the newer finds the older in memory. Where they meet
different replicas, since that one was full or gone, both are answered, and the client takes the
answer to what it asked last, as it must anyway.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from serving.asgi import Message
from serving.config.lobs import Lob
from serving.errors import Superseded
from serving.gateway.exchange import Exchange
from serving.observability import metrics

Name = tuple[str, str, str, int]
"""Key, line, conversation and turns so far."""


class Turns:
    """The turns of this replica that are being completed."""

    def __init__(self) -> None:
        self._latest: dict[Name, Turn] = {}

    def begin(self, exchange: Exchange, lobs: Mapping[str, Lob]) -> "Turn":
        """Return a request's stay, as a context; entering it ends the older one of its turn.

        Args:
            exchange: Its request is authorized: only who may ask ends what was asked before.
            lobs: The lines of business.
        """
        return Turn(exchange, self._latest, name(exchange, lobs))


def name(exchange: Exchange, lobs: Mapping[str, Lob]) -> Name | None:
    """Return the turn that a request completes; None where no other request ends it.

    Only requests that say what is typed so far are of a kind: one that asks for a whole reply is
    for another part of the screen.
    """
    asked = exchange.request
    task, lob = asked.of_task, lobs.get(exchange.lob or "")
    if task is None or not task.drafting or exchange.batch or not asked.conversation_id:
        return None
    if lob is None or not lob.suggestions.supersede:
        return None
    return exchange.key.id, task.lob, asked.conversation_id, asked.turn or 0


class Turn:
    """One request's stay, while a newer one may end it; a context, in the request's task.

    It cancels the task as `asyncio.timeout` does, and tells by the count of cancellations whether
    somebody else did, too, as Serve does when a client leaves.

    Raises:
        Superseded: A newer request ended it before its answer began.
    """

    def __init__(self, exchange: Exchange, latest: dict[Name, "Turn"], name: Name | None) -> None:
        self._exchange = exchange
        self._latest = latest
        self._name = name
        self._begun = False
        self._superseded = False

    def __enter__(self) -> Self:
        if self._name is None:
            return self
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a request runs in a task
        self._task, self._cancelling = task, task.cancelling()
        if (older := self._latest.get(self._name)) is not None:
            older.supersede()
        self._latest[self._name] = self
        send = self._exchange.send

        async def watched(message: Message) -> None:
            self._begun = True
            await send(message)

        self._exchange.send = watched
        return self

    def supersede(self) -> None:
        """End it, unless its answer has begun: then all of it is there."""
        if not self._begun and not self._superseded:
            self._superseded = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._name is None:
            return
        if self._latest.get(self._name) is self:
            del self._latest[self._name]
        if not self._superseded or self._task.uncancel() > self._cancelling:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            metrics.SUPERSEDED.labels(self._name[1]).inc()
            raise Superseded(
                "A newer request for the completion of this turn took its place.",
                headers={"x-should-retry": "false"},  # OpenAI's clients ask again after a 409
            ) from error
