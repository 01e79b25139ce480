"""Waiting for an event, however busy the machine is; the limit only ends a test that hangs."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 240
"""Far beyond what any event takes beside other work, so that slowness alone fails nothing."""

T = TypeVar("T")


def until(
    condition: Callable[[], T], what: str, *, limit_s: float = PATIENCE_S, every_s: float = 0.1
) -> T:
    """Return the condition's first true value.

    Args:
        condition: Asked again and again.
        what: What has not happened, if it does not.
        limit_s: How long to wait, in seconds.
        every_s: The pause between two questions, in seconds.
    """
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} (after {limit_s:.0f} s)"
        time.sleep(every_s)
    return found


async def until_async(
    condition: Callable[[], T], what: str, *, limit_s: float = PATIENCE_S, every_s: float = 0.02
) -> T:
    """Do as `until` does, and let the event loop run meanwhile."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} (after {limit_s:.0f} s)"
        await asyncio.sleep(every_s)
    return found
