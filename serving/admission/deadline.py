"""When an answer must be complete."""

import time

from serving.errors import DeadlineExceeded


class Deadline:
    """When an answer must be complete.

    Args:
        timeout_s: Seconds from `clock`; None is never.
        clock: When the request began, as `time.perf_counter` tells it.
    """

    __slots__ = ("_timeout_s", "_until")

    def __init__(self, timeout_s: float | None, clock: float) -> None:
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else clock + timeout_s

    def left(self) -> float | None:
        """Seconds left, or None where there is no deadline.

        Raises:
            DeadlineExceeded: None are left.
        """
        if self._until is None:
            return None
        left = self._until - time.perf_counter()
        if left <= 0:
            raise self.error()
        return left

    def error(self) -> DeadlineExceeded:
        """What the client is told."""
        return DeadlineExceeded(f"No complete answer within {self._timeout_s:g} s.")
