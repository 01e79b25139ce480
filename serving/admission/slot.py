"""A request's stay: it waits for its places and gives them back, whatever happens to it."""

import asyncio
import time

from serving.admission.deadline import Deadline
from serving.admission.fair_queue import Admission
from serving.admission.lines import Claim, Key
from serving.errors import Overloaded
from serving.observability import metrics


class AdmissionSlot:
    """A request's stay, as a context.

    Args:
        admission: The replica's.
        key: What `Admission.arrive` gave for the caller's key.

    Attributes:
        waited_s: Time in the queue.
    """

    __slots__ = ("_admission", "_claim", "_key", "waited_s")

    def __init__(self, admission: Admission, key: Key) -> None:
        self._admission = admission
        self._key = key
        self._claim: Claim | None = None
        self.waited_s = 0.0

    def __enter__(self) -> "AdmissionSlot":
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim is not None:
            self._admission.release(self._claim)

    def take_spare(self, lob: str, cost: int) -> None:
        """Take places that no request wants; the running task is cancelled when one does.

        Raises:
            Overloaded: There are none now.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a request runs in a task
        left = 1 if self._admission.places > cost else 0
        self._claim = self._admission.spare(lob, task.cancel, cost, left, batch=True)
        if self._claim is None:
            raise Overloaded("No place is spare for a batch now.")

    async def enter(
        self, lob: str, level: int, cost: int, deadline: Deadline, adapter: str | None = None
    ) -> bool:
        """Take places, waiting for them if need be.

        Args:
            lob: The line of business.
            level: The priority level.
            cost: How many.
            deadline: How long.
            adapter: The version that is to answer; None is the base.

        Returns:
            Whether it waited; then what was decided before may be out of date.

        Raises:
            RateLimited, Overloaded: As `Admission.claim`.
            DeadlineExceeded: The deadline passed in the queue.
        """
        claim = self._claim = self._admission.claim(lob, self._key, level, cost, adapter)
        if claim.held:
            return False
        began = time.perf_counter()
        claim.waiter = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait((claim.waiter,), timeout=deadline.left())
        self.waited_s = time.perf_counter() - began
        metrics.QUEUE_WAIT.labels(lob).observe(self.waited_s)
        if not done:
            metrics.REJECTED.labels(lob, "deadline").inc()
            raise deadline.error()
        return True
