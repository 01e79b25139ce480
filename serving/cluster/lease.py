"""Why a replica that is cut off stops answering: it may not have heard of a promotion.

The coordinator runs where Ray's head does. It returns from a promotion once every replica has
acknowledged, is dead, or was silent for `rollouts.lost_after_s`. A silent one is killed, but a kill
does not reach a machine whose link is out. So a replica holds a lease: each time that the
coordinator answers its poll, counted from when it asked, it may answer for as long again as the
coordinator would wait. This is the lease of Gray and Cheriton (Leases, SOSP 1989): clocks need not
agree, only run at the same speed.
"""

import time
from collections.abc import Callable

from serving import asgi, endpoints, errors
from serving.asgi import App, Receive, Scope, Send

RENEW_S = 2.0
"""Longest that a poll waits for commands."""
DEAD_S = 10.0
"""Ray takes a node for dead after no less than five missed checks, 3 s apart, and the coordinator
believes it: a lease ends before."""
_PATHS = {*endpoints.INFERENCE, endpoints.READY}


class Lease:
    """Whether this replica may answer.

    Args:
        clock: The time in seconds, which only grows.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = clock()
        self._lived = False
        self._limit_s = DEAD_S

    def renew(self, asked: float, lost_after_s: float) -> None:
        """Take note of an answer.

        Args:
            asked: When what it answers was asked, by the clock.
            lost_after_s: How long the coordinator waits for a silent replica.
        """
        self._heard = max(self._heard, asked)
        self._limit_s = min(lost_after_s, DEAD_S)

    @property
    def poll_s(self) -> float:
        """How long a poll may wait for commands, so that its answer renews the lease in time."""
        return min(RENEW_S, self._limit_s / 4)

    def has_place(self, lives: bool) -> bool:
        """Whether this replica has a place in the cluster, or may still get one.

        Args:
            lives: Whether Ray's head counts it as alive, which it does not while that starts.
        """
        self._lived = self._lived or lives
        return lives or not self._lived

    @property
    def held(self) -> bool:
        """Whether a question that is young enough was answered."""
        return self._clock() - self._heard < self._limit_s


class Leased:
    """An ASGI application that answers inference and `/ready` with 503 while the lease is lost.

    Args:
        app: What answers otherwise.
        lease: Whether it may.
    """

    def __init__(self, app: App, lease: Lease) -> None:
        self._app = app
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        held = self._lease.held or scope["type"] != "http"
        if held or asgi.plain_path(scope["path"]) not in _PATHS:
            await self._app(scope, receive, send)
        else:
            lost = errors.Unavailable("This replica is cut off from its cluster. Try again.")
            await asgi.send_error(send, lost)
