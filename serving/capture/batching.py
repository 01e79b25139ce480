"""When what was appended to the journal is worth a transaction of the store.

A transaction costs a connection, a commit and its threads' wake-ups whatever it holds, and the CPU
time is the engine's. So payloads wait until enough are there or the oldest has waited long enough.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Batching:
    """Counts what was appended since the last batch; all times are of one monotonic clock, in s.

    Args:
        records: Payloads that make a batch.
        wait_s: Longest that the first of a batch waits for the others.
        size_bytes: Size that makes a batch, whatever the number.
    """

    records: int
    wait_s: float
    size_bytes: int
    _began: float = 0.0
    _appended: int = 0
    _appended_bytes: int = 0

    def add(self, size: int, now: float) -> bool:
        """Count a payload of `size` bytes.

        Returns:
            Whether the time of the next batch has changed, so that a sleeper must look again.
        """
        first = self._appended == 0
        if first:
            self._began = now
        self._appended += 1
        self._appended_bytes += size
        return first or self._full

    def due_in(self, now: float) -> float | None:
        """Seconds until a batch is due, 0 if it is; None while nothing waits."""
        if self._appended == 0:
            return None
        return 0.0 if self._full else max(0.0, self._began + self.wait_s - now)

    def clear(self) -> None:
        """Begin the next batch."""
        self._appended = self._appended_bytes = 0

    @property
    def _full(self) -> bool:
        return self._appended >= self.records or self._appended_bytes >= self.size_bytes
