"""A circuit breaker: what has failed several times in a row is not asked for a while.

The states are those of M. Nygard, "Release It!", ch. 5: *closed* (requests pass; consecutive
failures are counted), *open* (none passes), *half-open* (once the reset time is over, exactly one
passes; its result closes or reopens the breaker). It does no I/O and reads no clock of its own.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum


class State(IntEnum):
    """Where a breaker stands; the numbers are what /metrics shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Permit:
    """Leave to ask once. Give it back with exactly one of its methods; later calls do nothing."""

    __slots__ = ("_breaker", "_epoch")

    def __init__(self, breaker: "Breaker", epoch: int) -> None:
        self._breaker: Breaker | None = breaker
        self._epoch = epoch

    def success(self) -> None:
        """It answered."""
        self._give_back("success")

    def failure(self) -> None:
        """It failed."""
        self._give_back("failure")

    def cancel(self) -> None:
        """Nothing was learnt: it was not asked, or the client left first."""
        self._give_back("cancel")

    def _give_back(self, result: str) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._note(result, self._epoch)


class Breaker:
    """The breaker of one target.

    Args:
        failures: Consecutive failures that open it.
        reset_s: Seconds after which an open breaker lets one request try.
        clock: Seconds that never go back.
    """

    __slots__ = ("_clock", "_count", "_epoch", "_failures", "_opened", "_probing", "_reset_s")

    def __init__(self, failures: int, reset_s: float, clock: Callable[[], float]) -> None:
        self._failures = failures
        self._reset_s = reset_s
        self._clock = clock
        self._count = 0
        self._opened: float | None = None
        self._probing = False
        self._epoch = 0  # grows when it opens or closes: what was asked before tells nothing now

    @property
    def state(self) -> State:
        """Where it stands now."""
        if self._opened is None:
            return State.CLOSED
        waited = self._clock() - self._opened >= self._reset_s
        return State.HALF_OPEN if waited else State.OPEN

    def ask(self) -> Permit | None:
        """Leave to ask the target, or None: skip it."""
        state = self.state
        if state is State.OPEN or (state is State.HALF_OPEN and self._probing):
            return None
        self._probing = state is State.HALF_OPEN
        return Permit(self, self._epoch)

    def _note(self, result: str, epoch: int) -> None:
        if epoch != self._epoch:
            return
        self._probing = False
        if result == "success":
            self._count = 0
            if self._opened is not None:
                self._opened = None
                self._epoch += 1
        elif result == "failure":
            self._count += 1
            if self._opened is not None or self._count >= self._failures:
                self._opened = self._clock()
                self._epoch += 1


def give_back(permits: Mapping[str, Permit]) -> None:
    """Cancel the permits that told nothing; one that was used stays as it is."""
    for permit in permits.values():
        permit.cancel()
