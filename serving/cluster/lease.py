"""Why a replica that is cut off stops answering: it may not have heard of a promotion.

The coordinator runs where Ray's head does. It returns from a promotion once every replica has
acknowledged, is dead, or was silent for `rollouts.lost_after_s`. A silent one is killed, but a kill
does not reach a machine whose link is out. So a replica holds a lease: each time that the head says
that it lives, counted from when it asked, it may answer for as long again as the coordinator would
wait. This is the lease of Gray and Cheriton (Leases, SOSP 1989): clocks need not agree, only run at
the same speed.
"""

import time
from collections.abc import Callable

from serving import asgi, endpoints, errors
from serving.asgi import App, Receive, Scope, Send

RENEW_S = 1.0
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

    def heard(self, asked: float, lives: bool, lost_after_s: float) -> bool:
        """Take note of what the head said.

        Args:
            asked: When it was asked, by the clock.
            lives: Whether it counts this replica as alive; it does not yet while that starts.
            lost_after_s: How long the coordinator waits for a silent replica.

        Returns:
            Whether this replica has a place in the cluster, or may still get one.
        """
        self._limit_s = min(lost_after_s, DEAD_S)
        if lives:
            self._lived = True
            self._heard = max(self._heard, asked)
        return lives or not self._lived

    @property
    def held(self) -> bool:
        """Whether the head answered a question that is young enough."""
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
