"""How many engines and Ray clusters a run of the tests starts, and how many it may.

Starting them is most of what the suite costs, so their number is bounded; times are not, since a
busy machine would break any bound. They are counted by watching the run's own processes, so that
what a server restarts by itself counts too.
"""

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

import psutil

ENGINES = 12
"""The server with two replicas 2, one killed 1, killed whole 1; the one of one replica 1, killed
twice 2; the demo 1; the kernels 2; and 2 that Ray Serve may restart where a machine is so busy
that a health check is late."""

RAYS = 6
"""The two servers 2, one killed whole 1, the demo 1, unit tests 2."""

_EVERY_S = 1.0

Started = set[tuple[int, float]]
"""Processes by id and start, since ids return."""


def is_engine(command: str) -> bool:
    """Whether a process with this command line runs an engine."""
    return command.startswith("VLLM::EngineCore") or "engine_session.py" in command


def is_ray(command: str) -> bool:
    """Whether a process with this command line is the one that each Ray cluster has once."""
    return command.partition(" ")[0].endswith("/gcs_server")


def _is_fork(process: psutil.Process, command: str) -> bool:
    """Whether ``process`` has its parent's command line: a child that has not executed its own."""
    parent = process.parent()
    return parent is not None and " ".join(parent.cmdline()) == command


class Census:
    """Watches the descendants of this process and remembers which were engines or Rays."""

    def __init__(self) -> None:
        self.engines: Started = set()
        self.rays: Started = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Census":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self.count()

    def count(self) -> None:
        """Look once."""
        kinds: list[tuple[Callable[[str], bool], Started]]
        kinds = [(is_engine, self.engines), (is_ray, self.rays)]
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if _is_fork(process, command):
                    continue
                for matches, found in kinds:
                    if matches(command):
                        found.add((process.pid, process.create_time()))

    def said(self) -> str:
        """What was started, in a line."""
        return (
            f"{len(self.engines)} engines and {len(self.rays)} Rays were started; "
            f"at most {ENGINES} and {RAYS} may be"
        )

    def exceeds(self) -> bool:
        """Whether it was more than the suite may start."""
        return len(self.engines) > ENGINES or len(self.rays) > RAYS

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self.count()
