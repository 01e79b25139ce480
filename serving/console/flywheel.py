"""Where each line's flywheel stands; the page's script asks for it again while it is open."""

from starlette.responses import Response
from starlette.routing import Route

from serving import endpoints
from serving.console.frame import Frame, Visit


def routes(frame: Frame) -> list[Route]:
    """Return the routes."""

    async def flywheel(visit: Visit) -> Response:
        found = (await visit.api.get(endpoints.FLYWHEEL))["data"]
        return frame.pages.show("flywheel", visit.visitor, lines=found)

    return [frame.route("flywheel", flywheel)]
