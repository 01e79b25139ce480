"""The desk: an agent's conversation with suggestions and a summary.

The page's script asks `/console/api/v1/…`, which hands the request to the gateway as it is, with
the session's key in place of a header's: streams, deadlines and clients that leave are its own.
"""

import json
import secrets

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import endpoints
from serving.asgi import Receive, Scope, Send, send_error
from serving.console.calls import KEPT
from serving.console.frame import Frame, Visit
from serving.console.pages import ROLES
from serving.console.sessions import HEADER, check_form
from serving.errors import NotFound, PermissionDenied, SwitchboardError, Unauthenticated

API = f"{endpoints.CONSOLE}/api"
OPEN = frozenset({endpoints.SUGGESTIONS, endpoints.SUMMARIES, endpoints.EVENTS})
"""What the desk asks for."""
_PASSED = KEPT | {"content-type", "content-length", "content-encoding"}
_OF_SCOPE = ("type", "asgi", "http_version", "scheme", "client", "server")


class Passage:
    """Hands the desk's requests to the gateway, for whoever is signed in.

    Args:
        frame: What pages are made with.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope)
        try:
            path = scope["path"].removeprefix(API)
            if path not in OPEN or request.method != "POST":
                raise NotFound("The desk asks for no such thing.")
            visitor = await self._frame.sessions.visitor(request)
            if visitor is None:
                raise Unauthenticated("The session is over. Sign in again.")
            check_form(request, visitor.token, request.headers.get(HEADER, ""))
            if not any(visitor.key.allows(role) for role in ROLES["desk"]):
                raise PermissionDenied("This key's roles do not cover the desk.")
        except SwitchboardError as exc:
            await send_error(send, exc)
            return
        inner = {name: scope[name] for name in _OF_SCOPE if name in scope}
        kept = [(n, v) for n, v in scope["headers"] if n.decode("latin-1").lower() in _PASSED]
        inner |= {
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": kept,
            "state": {},
        }
        await self._frame.gateway.as_key(visitor.key, inner, receive, send)


def routes(frame: Frame) -> list[Route]:
    """Return the routes."""

    async def desk(visit: Visit) -> Response:
        key = visit.visitor.key
        texts = frame.pages.texts
        return frame.pages.show(
            "desk",
            visit.visitor,
            lines=[lob for lob in frame.gateway.settings.lobs if key.allows_lob(lob)],
            api=API,
            conversation=f"desk-{secrets.token_hex(8)}",
            sample=json.loads(texts["desk.sample"]),
            words={k.removeprefix("desk.js."): v for k, v in texts.items() if ".js." in k},
        )

    return [
        frame.route("desk", desk),
        Route(f"{API}/{{path:path}}", Passage(frame)),
    ]
