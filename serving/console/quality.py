"""What the lines' answers are worth, and answers that people grade without seeing the version."""

from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from serving import endpoints
from serving.auth import Role
from serving.console.frame import Frame, Visit
from serving.errors import PermissionDenied
from serving.store.grades.grades import Grade

PAGE = f"{endpoints.CONSOLE}/quality"
KEYS = {Grade.GOOD: "g", Grade.USABLE: "u", Grade.WRONG: "w"}
"""The grades in the order of their buttons, each with its shortcut."""


def routes(frame: Frame) -> list[Route]:
    """Return the routes."""

    async def quality(visit: Visit) -> Response:
        found = await visit.api.get(endpoints.QUALITY)
        return frame.pages.show(
            "quality",
            visit.visitor,
            lines=found["data"],
            cost=found["cost"],
            grades=visit.visitor.key.allows(Role.REVIEWER),
        )

    async def grade(visit: Visit) -> Response:
        _reviewer(visit)
        asked = await visit.api.get(endpoints.GRADES, "next", lob=visit.path["lob"])
        return frame.pages.show("quality-grade", visit.visitor, asked=asked, keys=KEYS)

    async def give(visit: Visit) -> Response:
        _reviewer(visit)
        body: dict[str, Any] = {
            "id": visit.form.get("id", ""),
            "grade": visit.form.get("grade", ""),
            "unsupported": "unsupported" in visit.form,
        }
        await visit.api.post(endpoints.GRADES, body=body)
        return RedirectResponse(f"{PAGE}/{quote(visit.path['lob'], safe='')}", 303)

    return [
        frame.route("quality", quality),
        frame.route("quality", grade, "/{lob}"),
        frame.route("quality", give, "/{lob}", "POST"),
    ]


def _reviewer(visit: Visit) -> None:
    if not visit.visitor.key.allows(Role.REVIEWER):
        raise PermissionDenied("This needs a key with the role reviewer.")
