"""Batches of what several callers wait for, in one thread, so that each gets its turn.

While a batch runs, others come; the next one takes of each of them alike. So a question of one text
waits for one batch, however many texts somebody else has sent before.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from serving.errors import Overloaded, SwitchboardError, Unavailable

Work = Callable[[str, list[Any]], Sequence[Any]]
"""Of a kind and its items, a result each; one that is an error fails the call that it is of."""


def shares(waiting: Sequence[int], most: int) -> list[int]:
    """Divide a batch's places as evenly as what waits allows, the first callers first.

    Args:
        waiting: How many items of each caller wait.
        most: Places.

    Returns:
        How many items each gets.
    """
    given = [0] * len(waiting)
    left = min(most, sum(waiting))
    while left:
        open_ = [n for n, wants in enumerate(waiting) if wants > given[n]]
        each = max(1, left // len(open_))
        for n in open_:
            more = min(each, waiting[n] - given[n], left)
            given[n] += more
            left -= more
    return given


@dataclass(eq=False, slots=True)
class _Call:
    kind: str
    items: Sequence[Any]
    done: asyncio.Future[list[Any]]
    results: list[Any] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.items) - len(self.results)


class Batcher:
    """Runs a function that blocks.

    Args:
        work: The function.
        executor: Of one thread.
        most: Items of a batch.
        max_waiting: Items that may wait, over all callers.
    """

    def __init__(self, work: Work, executor: Executor, *, most: int, max_waiting: int) -> None:
        self._work, self._executor = work, executor
        self._most, self._max_waiting = most, max_waiting
        self._calls: list[_Call] = []
        self._running: asyncio.Task[None] | None = None

    async def run(self, kind: str, items: Sequence[Any]) -> list[Any]:
        """Return the result of each item.

        Args:
            kind: Items of different kinds are in different batches.
            items: n of them.

        Raises:
            Overloaded: Too many wait.
            SwitchboardError: One of the results is, or the function failed.
        """
        if not items:
            return []
        waiting = sum(call.left for call in self._calls)
        if self._calls and waiting + len(items) > self._max_waiting:
            raise Overloaded(f"{waiting} texts wait already.")
        call = _Call(kind, items, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            return await call.done
        finally:
            if call in self._calls:  # its caller has gone
                self._calls.remove(call)

    async def close(self) -> None:
        """Take no further batch; who waits is told."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        for call in self._calls:
            if not call.done.done():
                call.done.set_exception(Unavailable("The server is stopping."))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._calls:
            kind = self._calls[0].kind
            asked = [call for call in self._calls if call.kind == kind]
            counts = shares([call.left for call in asked], self._most)
            parts = [
                list(call.items[len(call.results) : len(call.results) + count])
                for call, count in zip(asked, counts, strict=True)
            ]
            batch = [item for part in parts for item in part]
            try:
                results = list(await loop.run_in_executor(self._executor, self._work, kind, batch))
            except Exception as exc:
                self._fail(asked, counts, exc)
                continue
            for call, count in zip(asked, counts, strict=True):
                call.results += results[:count]
                results = results[count:]
                self._settle(call)
            # The first goes behind the others, so that another kind has its turn.
            self._calls = self._calls[1:] + self._calls[:1]

    def _settle(self, call: _Call) -> None:
        if call not in self._calls:
            return
        failed = next((r for r in call.results if isinstance(r, SwitchboardError)), None)
        if failed is None and call.left:
            return
        self._calls.remove(call)
        if not call.done.done():
            if failed is None:
                call.done.set_result(call.results)
            else:
                call.done.set_exception(failed)

    def _fail(self, asked: Sequence[_Call], counts: Sequence[int], exc: Exception) -> None:
        for call, count in zip(asked, counts, strict=True):
            if count and call in self._calls:
                self._calls.remove(call)
                if not call.done.done():
                    call.done.set_exception(exc)
