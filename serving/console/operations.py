"""How the deployment is: replicas, store, capture, queues by line, alarms.

From the health page of the replica that answers, and the metrics of all.
"""

from starlette.responses import Response
from starlette.routing import Route

from serving import endpoints
from serving.console import series
from serving.console.calls import Refused
from serving.console.frame import Frame, Visit


def routes(frame: Frame) -> list[Route]:
    """Return the routes."""

    async def operations(visit: Visit) -> Response:
        health = await visit.api.get(endpoints.HEALTH)
        names = {*series.OF_REPLICA, *series.OF_LINE, series.BREAKER}
        try:
            samples = series.read(await visit.api.text(endpoints.METRICS), names)
        except Refused:
            samples = []
        key = visit.visitor.key
        lines = {
            lob: row
            for lob, row in series.by("lob", series.OF_LINE, samples).items()
            if (key.allows_lob(lob) if lob else key.allows_base)
        }
        return frame.pages.show(
            "operations",
            visit.visitor,
            health=health,
            known=bool(samples),
            replicas=series.by("replica", series.OF_REPLICA, samples),
            lines=lines,
            breakers=series.open_breakers(samples),
        )

    return [frame.route("operations", operations)]
