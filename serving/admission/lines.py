"""What admission knows of each line of business, each API key and each request."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable

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

    def head(self, may: "May" = lambda _: True) -> "Claim | None":
        """The waiting request that goes first, of those whose adapter may be asked now."""
        waiting = (claim for queue in self.queues for claim in queue)
        return next((claim for claim in waiting if may(claim.adapter)), None)

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

    __slots__ = ("adapter", "cost", "held", "key", "level", "line", "since", "waiter")

    def __init__(
        self,
        line: Line,
        key: Key,
        level: int,
        cost: int,
        now: float,
        adapter: str | None = None,
    ) -> None:
        self.line = line
        self.key = key
        self.level = level
        self.cost = cost
        self.adapter = adapter
        self.since = now
        self.held = False
        self.waiter: asyncio.Future[None] | None = None


def present_lines(
    lines: Iterable[Line], arriving: Line | None, since: float
) -> tuple[list[Line], float]:
    """Return the lines that have requests or had some lately, and when the first of these left.

    Args:
        lines: All of them; which are present is noted there.
        arriving: Gets a request now.
        since: Those that left then, or before, are present no more.
    """
    present, first = [], math.inf
    for line in lines:
        if line is arriving or line.inflight or line.waiting:
            present.append(line)
        elif line.present:
            line.present = since < line.left_at
            if line.present:
                present.append(line)
                first = min(first, line.left_at)
    return present, first


def share_out(present: Collection[Line], places: int, borrow: float) -> None:
    """Set what each line may take beside the others: its share and a part of the rest."""
    weights = sum(line.weight for line in present)
    for line in present:
        share = places * line.weight / weights
        line.cap = max(1, int(share + borrow * (places - share)))


May = Callable[[str | None], bool]
"""Whether an adapter may be asked now; None is the base."""


def next_claim(lines: Iterable[Line], may: May) -> Claim | None:
    """Return the head of the waiting line with room that is furthest below its share, if any."""
    heads = (line.head(may) for line in lines if line.waiting)
    able = (claim for claim in heads if claim is not None and claim.line.fits(claim.cost))
    return min(able, key=_rank, default=None)


def overdue(lines: Iterable[Line], now: float, wait_s: float, runs: May) -> frozenset[str]:
    """Return the adapters without a slot of which a request has waited for `wait_s` or longer."""
    found = set[str]()
    for line in lines:
        for queue in line.queues if line.waiting else ():
            for claim in queue:  # in the order of their coming
                if claim.since > now - wait_s:
                    break
                if claim.adapter is not None and not runs(claim.adapter):
                    found.add(claim.adapter)
    return frozenset(found)


def _rank(claim: Claim) -> tuple[float, int]:
    return claim.line.inflight / claim.line.weight, claim.line.last


def _bucket(limits: LobLimits | KeyLimits, replicas: int) -> Bucket | None:
    rate = limits.requests_per_minute
    return Bucket(rate / replicas) if rate else None
