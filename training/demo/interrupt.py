"""Ctrl-C in the middle of asynchronous work that has processes to end."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, T], on_stop: Callable[[], None]) -> T:
    """Run work to its end, or until SIGINT or SIGTERM, which cancels it; it may then tidy up.

    Args:
        work: What to do.
        on_stop: Called when a signal has come. Further ones are ignored: they must not cut the
            tidying short.

    Raises:
        KeyboardInterrupt: It was stopped, and has tidied up.
    """

    async def interruptible() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def stop() -> None:
            for number in SIGNALS:
                loop.add_signal_handler(number, lambda: None)
            on_stop()
            task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, stop)
        return await task

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
