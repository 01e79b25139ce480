"""Which request goes first: live suggestions before batch summaries. Pure decisions.

A task's priority comes from the configuration; lower goes first, as in vLLM. A caller may wait
longer than its task must, but only trainers and admins may go before it.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from serving.errors import InvalidRequest

BATCH = 2**31 - 2
"""The engine's priority of a batch's lines: after all that anybody waits for."""


class Priorities:
    """The configured priorities.

    Args:
        by_task: Priority by the task's name; 0 for tasks that it lacks.
    """

    def __init__(self, by_task: Mapping[str, int]) -> None:
        self._by_task = dict(by_task)
        self._steps = sorted({0, *self._by_task.values()})

    @property
    def levels(self) -> int:
        """How many queues a line of business needs."""
        return len(self._steps)

    def of(self, task: str, asked: Any, *, trusted: bool) -> int:
        """A request's priority.

        Args:
            task: The task's name.
            asked: The request's own `priority`, or None.
            trusted: Whether the caller may go before what its task allows.

        Raises:
            InvalidRequest: `asked` is not an integer.
        """
        given = self._by_task.get(task, 0)
        if asked is None:
            return given
        if not isinstance(asked, int) or isinstance(asked, bool):
            raise InvalidRequest("`priority` must be an integer.", param="priority")
        return asked if trusted else max(given, asked)

    def level(self, priority: int) -> int:
        """The queue for a priority: 0 goes first. Callers cannot make more queues than we have."""
        return max(0, bisect_right(self._steps, priority) - 1)


def sequences(request: Mapping[str, Any]) -> int:
    """How many sequences the engine runs for a request: its prompts times `n`.

    Args:
        request: The body, whose types are checked.
    """
    prompt = request.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and not _tokens(prompt) else 1
    return max(1, prompts) * max(request.get("n") or 1, request.get("best_of") or 1)


def _tokens(prompt: list[Any]) -> bool:
    return bool(prompt) and isinstance(prompt[0], int)
