"""A bound on requests per minute: the token bucket.

In the virtual-scheduling form of ITU-T I.371 (the generic cell rate algorithm), which keeps one
number, the time at which the bucket would be full again.
"""

import math

BURST_S = 10.0


class Bucket:
    """A token bucket that holds what `BURST_S` seconds bring, at least one request.

    Args:
        per_minute: Requests per minute.
    """

    __slots__ = ("_due", "_interval_s", "_slack_s")

    def __init__(self, per_minute: float) -> None:
        self._interval_s = 60.0 / per_minute
        self._slack_s = max(0.0, BURST_S - self._interval_s)
        self._due = -math.inf

    def take(self, now: float) -> float:
        """Take a token; returns 0, or the seconds until there is one."""
        early = self._due - self._slack_s - now
        if early > 0:
            return early
        self._due = max(self._due, now) + self._interval_s
        return 0.0
