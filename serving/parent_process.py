"""Processes that end with the one that started them, also when that is killed.

Linux tells a process when its parent dies, if it asks (`PR_SET_PDEATHSIG`, see prctl(2)); the
wish outlives execve(2). A child that reads its standard input needs no more than the end of that.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have this process get a signal when its parent ends, at once where it has already ended.

    Args:
        parent: The process id that the parent had when it started this one.
        by: The signal: SIGTERM where there is something to put in order.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), by)


def command(argv: Sequence[str], by: signal.Signals = signal.SIGTERM) -> list[str]:
    """A command line that runs another, which ends with the process that runs it."""
    return [sys.executable, "-P", "-m", __name__, str(os.getpid()), str(int(by)), *argv]


def exit_at_end_of_input() -> None:
    """Wait until standard input ends, as it does with the process that holds its other end; exit.

    To be run in a thread of its own: nothing is put in order, since nobody is left to be told.
    """
    sys.stdin.read()
    os._exit(1)


async def stop(process: asyncio.subprocess.Process, within_s: float) -> None:
    """Ask a child to end (SIGTERM), wait, and kill it where it does not.

    Args:
        process: The child.
        within_s: How long it may take, in seconds.
    """
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    end_with(int(sys.argv[1]), signal.Signals(int(sys.argv[2])))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 - no shell is wanted
