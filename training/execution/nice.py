"""Let a process yield the CPU to whatever serves: `python -m training.execution.nice 19 COMMAND…`.

The command takes this process's place, so its id, its input and what ends it stay the same.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ENABLED = Path("/proc/sys/kernel/sched_autogroup_enabled")
AUTOGROUP = Path("/proc/self/autogroup")


def command(nice: int, program: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs a program at a nice value; at 0 the program itself."""
    if nice == 0:
        return tuple(program)
    return (sys.executable, "-m", "training.execution.nice", str(nice), *program)


def lower(nice: int) -> None:
    """Run this thread, and all that it starts from now on, at a nice value or a higher one.

    Linux with autogroups divides the CPU among sessions first and compares nice values only
    within one (sched(7)), so the process gets a session of its own, with the value as its weight.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    with suppress(OSError):  # no autogroups, or none of our own: then nice alone decides
        if ENABLED.read_text().strip() == "1":
            os.setsid()
            AUTOGROUP.write_text(str(nice))


if __name__ == "__main__":
    lower(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is our own
