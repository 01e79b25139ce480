"""What the health page says: is the store up, what waits for it, and is capture losing anything.

Everything is read from memory, where background work left it, so the page is cheap and answers
also while the store and the disk are down. It is public, so reasons, which may name hosts and
paths, are in the log only.
"""

import time
from collections.abc import Iterable
from typing import Any

from serving.capture import Drainer, Journal
from serving.observability import metrics
from serving.observability.alarm import Alarm, utc

SETTLE_S = 60.0
"""How long after an outage the journals of other replicas may still be draining."""


class Health:
    """The state of one replica.

    Args:
        replica: Its name.
        store: Alarms that are on while the store does not answer.
        journal: Where interactions are spooled.
        drainer: Moves them to the store.
        limit_bytes: How much the journal may hold.
        guards: Alarms that are on while a guard that must decide fails; more may come.
        alarms: Further alarms of what keeps interactions from the store.
    """

    def __init__(
        self,
        replica: str,
        *,
        store: Iterable[Alarm],
        journal: Journal,
        drainer: Drainer,
        limit_bytes: int,
        guards: Iterable[Alarm] = (),
        alarms: Iterable[Alarm] = (),
    ) -> None:
        self._replica = replica
        self._store = tuple(store)
        self._journal = journal
        self._drainer = drainer
        self._limit_bytes = limit_bytes
        self._guards = guards
        self._alarms = (*journal.alarms, *alarms)
        metrics.JOURNAL_BACKLOG.set_function(lambda: drainer.backlog_bytes)
        metrics.STORE_UP.set_function(lambda: self.store_down_since is None)

    @property
    def store_down_since(self) -> float | None:
        """When the store stopped answering, in seconds since the epoch; None while it does."""
        return _earliest(self._store)

    @property
    def behind(self) -> bool:
        """Whether an interaction that is not in the store may yet come: an outage, or its wake."""
        return self._drainer.overdue or any(a.recent(SETTLE_S) for a in self._store)

    def page(self, well: str) -> dict[str, Any]:
        """Return the page.

        Args:
            well: The status where nothing is wrong; it is ``degraded`` otherwise, which still
                answers requests.
        """
        down = self.store_down_since
        alarm = _earliest(self._alarms)
        state = "alarm" if alarm else "spooling" if down else "ok"
        capture: dict[str, Any] = {
            "state": state,
            "spooled_interactions": self._drainer.backlog_frames,
            "spooled_bytes": self._drainer.backlog_bytes,
            "limit_bytes": self._limit_bytes,
            "lost": self._journal.lost,
        }
        if alarm is not None:
            capture |= _since(alarm)
        failing = _earliest(self._guards)
        guards = {"state": "ok"} if failing is None else {"state": "alarm", **_since(failing)}
        return {
            "status": well if down is None and alarm is None and failing is None else "degraded",
            "replica": self._replica,
            "store": {"state": "up"} if down is None else {"state": "down", **_since(down)},
            "capture": capture,
            "guards": guards,
        }


def _earliest(alarms: Iterable[Alarm]) -> float | None:
    return min((alarm.since for alarm in alarms if alarm.since is not None), default=None)


def _since(at: float) -> dict[str, Any]:
    return {"since": utc(at), "for_s": round(time.time() - at, 1)}
