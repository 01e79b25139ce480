"""What admission knows of each line of business, each API key and each request."""

import asyncio
from collections import deque
from collections.abc import Iterable

from serving.admission.rate_limit import Bucket
from serving.config.limits import KeyLimits, LobLimits


class Line:
    """The state of one line of business: its queues, a deque per priority level, and its places."""

    __slots__ = (
        "bucket",
        "cap",
        "inflight",
        "last",
        "left_at",
        "max_queue",
        "name",
        "present",
        "queues",
        "waiting",
        "weight",
    )

    def __init__(self, name: str, limits: LobLimits, levels: int, places: int, replicas: int):
        self.name = name
        self.set_limits(limits, places, replicas)
        self.queues: list[deque[Claim]] = [deque() for _ in range(levels)]
        self.waiting = 0
        self.inflight = 0
        self.cap = places
        self.last = 0  # its latest admission's number: among equals, the longest ago goes first
        self.present = False
        self.left_at = 0.0

    def set_limits(self, limits: LobLimits, places: int, replicas: int) -> None:
        """Take what the configuration says of the line."""
        self.weight = limits.weight
        self.max_queue = places if limits.max_queue is None else limits.max_queue
        self.bucket = _bucket(limits, replicas)

    def head(self) -> "Claim":
        """The waiting request that goes first."""
        return next(queue[0] for queue in self.queues if queue)

    def fits(self, cost: int) -> bool:
        """Whether the line may take so many more places; one request it may always have."""
        return not self.inflight or self.inflight + cost <= self.cap


class Key:
    """The state of one API key."""

    __slots__ = ("bucket", "max_queue", "name", "waiting")

    def __init__(self, name: str, limits: KeyLimits, replicas: int) -> None:
        self.name = name
        self.max_queue = limits.max_queue
        self.bucket = _bucket(limits, replicas)
        self.waiting = 0


class Claim:
    """One request's places, held or waited for. Made by `Admission.claim`."""

    __slots__ = ("cost", "held", "key", "level", "line", "since", "waiter")

    def __init__(self, line: Line, key: Key, level: int, cost: int, now: float) -> None:
        self.line = line
        self.key = key
        self.level = level
        self.cost = cost
        self.since = now
        self.held = False
        self.waiter: asyncio.Future[None] | None = None


def next_line(lines: Iterable[Line]) -> Line | None:
    """Return the waiting line with room that is furthest below its share, if there is one."""
    able = (line for line in lines if line.waiting and line.fits(line.head().cost))
    return min(able, key=_rank, default=None)


def _rank(line: Line) -> tuple[float, int]:
    return line.inflight / line.weight, line.last


def _bucket(limits: LobLimits | KeyLimits, replicas: int) -> Bucket | None:
    rate = limits.requests_per_minute
    return Bucket(rate / replicas) if rate else None
