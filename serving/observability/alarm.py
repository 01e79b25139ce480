"""A condition that people must hear of: since when, why, and a log that it does not flood."""

import logging
import math
import time
from datetime import UTC, datetime

REPEAT_S = 60.0


class Alarm:
    """Is on or off. Turning it on again while it is on counts, and is logged once a minute.

    Args:
        what: The condition, as the log names it.
        repeat_s: Seconds between two lines of the log about one outage.
    """

    def __init__(self, what: str, *, repeat_s: float = REPEAT_S) -> None:
        self._what = what
        self._repeat_s = repeat_s
        self._logger = logging.getLogger(__name__)
        self._logged_at = 0.0
        self._times = 0
        self._over_at = -math.inf
        self.since: float | None = None
        """When it went on, in seconds since the epoch; None while it is off."""
        self.reason: str | None = None
        """What was said last; None while it is off."""

    def on(self, reason: object) -> None:
        """Turn it on, or say that it still is."""
        now = time.monotonic()
        self.reason = str(reason)
        self._times += 1
        if self.since is None:
            self.since = time.time()
        elif now - self._logged_at < self._repeat_s:
            return
        self._logged_at = now
        self._logger.error(
            "ALARM: %s, since %s (%d times): %s",
            self._what,
            utc(self.since),
            self._times,
            self.reason,
        )

    def off(self) -> None:
        """Turn it off; costs nothing while it is off."""
        if self.since is None:
            return
        self._logger.warning(
            "Over: %s, for %.0f s (%d times)", self._what, time.time() - self.since, self._times
        )
        self.since, self.reason, self._times = None, None, 0
        self._over_at = time.monotonic()

    def recent(self, s: float) -> bool:
        """Whether it is on, or was less than `s` seconds ago."""
        return self.since is not None or time.monotonic() - self._over_at < s


def utc(at: float) -> str:
    """Return a time as people and programs read it, such as 2026-01-31T09:30:00Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
