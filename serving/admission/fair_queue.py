"""Who is answered now, who waits and who is turned away. One per replica; no I/O, no lock.

A replica has a fixed number of places, one for each sequence that the engine runs at once, so that
requests queue here, where lines of business are told apart, and not in the engine. A request that
finds room takes its places at once. Otherwise it waits in its line's queue, which is bounded; past
the bound it is refused at once.

**Choice.** A free place goes to the waiting line with the fewest places for its weight: weighted
max-min fairness (Bertsekas and Gallager, Data Networks, 1992, §6.5.2), which is what
dominant-resource fairness (Ghodsi et al., NSDI 2011) is for one resource. Places are shared, not
requests, so a line that asks for long answers pays for them. A line that holds none is next.

**Headroom.** Places cannot be taken back from a running answer. So while other lines are present a
line stops at its share plus a part (`borrow`) of the rest, as in Kubernetes' API Priority and
Fairness, and a quiet line's request finds a place free instead of waiting for a flood's answers.

**Spare places** go to shadows and batches (`spare`): only while no request waits and another place
is free after it; a request without room takes back at once as many as it needs, the newest first.
Beside requests a batch holds `limits.batch_beside_live`: each more makes the engine's steps longer.

**Rates** are checked first (rate_limit.py); **adapters** take turns in slots (adapter_slots.py).
"""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial

from serving.admission.adapter_slots import AdapterSlots
from serving.admission.lines import Claim, Key, Line, next_claim, overdue, present_lines, share_out
from serving.admission.rate_limit import Bucket
from serving.admission.spare import Spare
from serving.config.limits import KeyLimits, Limits, LobLimits
from serving.errors import Overloaded, RateLimited
from serving.observability import metrics

_SMOOTHING = 0.1
_QUIET_S = 1.0  # so long after the last request batches stay narrow: the next one may come


class Admission:
    """A replica's places and queues.

    Args:
        limits: The configuration's `limits`.
        lobs: Each line's limits, by name; "" for requests on the base model.
        places: Sequences that may be answered at once.
        levels: Priority levels.
        replicas: Among how many replicas rates are divided.
        adapters: How many the engine answers by at once; None is any number.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        limits: Limits,
        lobs: Mapping[str, LobLimits],
        *,
        places: int,
        levels: int = 1,
        replicas: int = 1,
        adapters: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places = places
        self.inflight = 0
        self.waiting = 0
        self.lines = {
            name: Line(name, of_lob, levels, places, replicas) for name, of_lob in lobs.items()
        }
        self._limits = limits
        self._replicas = replicas
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self.nobody = Key("", KeyLimits(), replicas)
        self._spare = Spare(self.release)
        self._slots = AdapterSlots(adapters, limits.adapter_wait_s)
        self._live_at = -math.inf
        self._admitted = 0
        self._stale_at = math.inf
        self._hold_s = 0.0

    def configure(
        self, limits: Limits, lobs: Mapping[str, LobLimits], *, places: int, replicas: int
    ) -> None:
        """Change everything but the priority levels; who waits goes on waiting.

        Buckets start full again. A line that is gone stays, since its last requests may.
        """
        self._limits, self._replicas, self.places = limits, replicas, places
        self._slots.wait_s = limits.adapter_wait_s
        self._keys.clear()
        for name, of_lob in lobs.items():
            line = self.lines.get(name)
            if line is None:
                levels = len(self.lines[""].queues)
                self.lines[name] = Line(name, of_lob, levels, places, replicas)
            else:
                line.set_limits(of_lob, places, replicas)
        self.expose()
        now = self._clock()
        self._update_caps(None, now)
        self._dispatch(now)

    def expose(self) -> None:
        """Show the queues and places on /metrics, which reads them when it is asked."""
        for name, line in self.lines.items():
            metrics.QUEUED.labels(name).set_function(partial(getattr, line, "waiting"))
            metrics.PLACES.labels(name).set_function(partial(getattr, line, "inflight"))

    def arrive(self, key_id: str, key_name: str) -> Key:
        """Let a request of a key in; needs nothing of its body.

        Raises:
            RateLimited: The key has used up its rate.
        """
        key = self._keys.get(key_id)
        if key is None:
            limits = self._limits.keys.get(key_name, self._limits.default_key)
            key = self._keys[key_id] = Key(key_name, limits, self._replicas)
        self._take_token(key.bucket, self._clock(), "", "key_rate", f"The key {key.name}")
        return key

    def claim(
        self, lob: str, key: Key, level: int = 0, cost: int = 1, adapter: str | None = None
    ) -> Claim:
        """Take places for a request, or queue it: `held` says which.

        Args:
            lob: The line of business; "" for the base model.
            key: The caller's.
            level: The priority level; 0 goes first.
            cost: Sequences that the engine will run for it.
            adapter: The version that is to answer; None is the base.

        Raises:
            RateLimited: The line has used up its rate.
            Overloaded: No room, and the line's or the key's queue is full.
        """
        now = self._clock()
        line = self.lines[lob]
        self._take_token(line.bucket, now, lob, "lob_rate", lob or "The base model")
        if not line.present or now >= self._stale_at:
            self._update_caps(line, now)
        claim = Claim(line, key, level, min(cost, self.places), now, adapter)
        if self._spare:
            self._spare.take_back(partial(self._has_room, claim))
            self._spare.take_back(self._batches_are_narrow, batches_only=True)
        if self._has_room(claim):
            self._admit(claim, now)
            return claim
        self._queue(claim)
        self._dispatch(now)
        if not claim.held:
            self._check_queues(claim)
        return claim

    def spare(
        self,
        lob: str,
        stop: Callable[[], object],
        cost: int = 1,
        left: int = 1,
        batch: bool = False,
    ) -> Claim | None:
        """Take places for work that nobody waits for; None while requests wait or may want them.

        Args:
            lob: The line of business, of whose places they are, too.
            stop: Called when a request needs the places, which are then given back already.
            cost: How many.
            left: How many must be free beside them.
            batch: Whether it is for a batch, which stays narrow beside requests.
        """
        now, line = self._clock(), self.lines[lob]
        wanted = cost + left
        if self.waiting or self.inflight + wanted > self.places or not line.fits(wanted):
            return None
        live = self.inflight > self._spare.places or now - self._live_at < _QUIET_S
        if batch and live and not self._batches_are_narrow(cost):
            return None
        claim = Claim(line, self.nobody, 0, cost, now)
        self._spare.add(claim, stop, batch=batch)
        self._admit(claim, now)
        return claim

    def release(self, claim: Claim) -> None:
        """Give places back, or leave the queue; once more does nothing."""
        line = claim.line
        now = self._clock()
        spare = self._spare.discard(claim)
        if claim.held:
            claim.held = False
            self._live_at = self._live_at if spare else now
            line.inflight -= claim.cost
            self.inflight -= claim.cost
            self._slots.give_back(claim.adapter, claim.cost)
            self._hold_s += _SMOOTHING * (now - claim.since - self._hold_s)
        else:
            self._unqueue(claim)
        self._note_if_left(line, now)
        if self.waiting:
            self._dispatch(now)

    def _has_room(self, claim: Claim) -> bool:
        free = self.places - self.inflight
        fits = claim.line.fits(claim.cost) and self._slots.fits(claim.adapter)
        return not self.waiting and claim.cost <= free and fits

    def _batches_are_narrow(self, more: int = 0) -> bool:
        return self._spare.of_batches + more <= self._limits.batch_beside_live

    def _take_token(
        self, bucket: Bucket | None, now: float, lob: str, reason: str, whose: str
    ) -> None:
        if bucket is not None and (wait_s := bucket.take(now)):
            metrics.REJECTED.labels(lob, reason).inc()
            raise RateLimited(
                f"{whose} has more requests than its rate allows.",
                headers=self._retry_after(wait_s),
            )

    def _note_if_left(self, line: Line, now: float) -> None:
        if not line.inflight and not line.waiting:
            line.left_at = now
            self._stale_at = min(self._stale_at, now + self._limits.present_s)

    def _admit(self, claim: Claim, now: float) -> None:
        line = claim.line
        line.inflight += claim.cost
        self.inflight += claim.cost
        self._slots.take(claim.adapter, claim.cost)
        self._admitted += 1
        line.last = self._admitted
        claim.since = now
        claim.held = True
        if claim.waiter is not None and not claim.waiter.done():
            claim.waiter.set_result(None)

    def _queue(self, claim: Claim) -> None:
        claim.line.queues[claim.level].append(claim)
        claim.line.waiting += 1
        claim.key.waiting += 1
        self.waiting += 1

    def _unqueue(self, claim: Claim) -> None:
        try:
            claim.line.queues[claim.level].remove(claim)
        except ValueError:
            return  # released before
        claim.line.waiting -= 1
        claim.key.waiting -= 1
        self.waiting -= 1

    def _dispatch(self, now: float) -> None:
        """Give what is free to the waiting lines that are furthest below their share."""
        if now >= self._stale_at:
            self._update_caps(None, now)
        while self.waiting:
            self._slots.make_way(partial(overdue, self.lines.values(), now))
            claim = next_claim(self.lines.values(), self._slots.fits)
            if claim is None:
                return
            if self.inflight + claim.cost > self.places:
                return  # it waits for room; to let smaller ones by would starve it
            self._unqueue(claim)
            self._admit(claim, now)

    def _check_queues(self, claim: Claim) -> None:
        """Take a claim out of the queue again if it is over a bound.

        A line's bound counts what goes before the claim, so that a batch's summaries that wait do
        not turn live suggestions away.
        """
        line, key = claim.line, claim.key
        if sum(map(len, line.queues[: claim.level + 1])) > line.max_queue:
            reason, whose = "queue_full", line.name or "the base model"
        elif key.max_queue is not None and key.waiting > key.max_queue:
            reason, whose = "key_queue_full", f"the key {key.name}"
        else:
            return
        self.release(claim)
        metrics.REJECTED.labels(line.name, reason).inc()
        raise Overloaded(
            f"Too many requests of {whose} wait already.",
            headers=self._retry_after(self._hold_s * (line.waiting + 1) / line.cap),
        )

    def _update_caps(self, arriving: Line | None, now: float) -> None:
        """Notice which lines are present, and set what each may take beside the others."""
        if arriving is not None:
            arriving.present = True
        since = now - self._limits.present_s
        present, left_at = present_lines(self.lines.values(), arriving, since)
        self._stale_at = left_at + self._limits.present_s
        share_out(present, self.places, self._limits.borrow)

    def _retry_after(self, wait_s: float) -> dict[str, str]:
        low, high = self._limits.retry_after_min_s, self._limits.retry_after_max_s
        return {"retry-after": str(max(low, min(high, math.ceil(wait_s))))}
