"""How a session ends."""

import logging
from collections.abc import Sequence
from typing import Literal

logger = logging.getLogger(__name__)

Outcome = Literal["closed", "idle", "drained", "refused", "failed"]


class Ended(Exception):
    """The session is over.

    Args:
        outcome: Why, for the metrics.
        code: The code that the websocket is closed with (RFC 6455, 7.4.1).
        reason: Why, for the client.
    """

    def __init__(self, outcome: Outcome, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.outcome: Outcome = outcome
        self.code = code
        self.reason = reason


def why(failures: Sequence[BaseException | None]) -> Ended:
    """Return how a session ended, by what its parts ended with."""
    for one in failures:
        if isinstance(one, Ended):
            return one
    for one in failures:
        if isinstance(one, OSError | RuntimeError):  # Starlette's of a client that has left
            logger.info("a session was cut: %s", type(one).__name__)
            return Ended("closed", 1000)
    for one in failures:
        if one is not None:
            logger.error("a session failed", exc_info=one)
    return Ended("failed", 1011, "The server made a mistake; it is logged.")
