"""What every page has in common: somebody is signed in, may see it, and sent a form of ours."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from serving import endpoints
from serving.asgi import read_body
from serving.console.calls import Calls
from serving.console.pages import ROLES, Pages
from serving.console.sessions import FIELD, Sessions, Visitor, check_form
from serving.errors import InvalidRequest, PermissionDenied
from serving.gateway.app import Gateway
from serving.store.database import Database

FORM_BYTES = 512 << 10
FIELDS = 20
SIGN_IN = f"{endpoints.CONSOLE}/sign-in"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in and may see the page.

    Args:
        request: The browser's.
        visitor: Who it is.
        form: What they filled in; empty for a GET.
        api: Asks the API for them.
    """

    request: Request
    visitor: Visitor
    form: Mapping[str, str]
    api: Calls

    @property
    def path(self) -> dict[str, str]:
        """The parts of the path that the route names."""
        found: dict[str, str] = self.request.path_params
        return found


Handler = Callable[[Visit], Awaitable[Response]]


class Frame:
    """What the pages are made with.

    Args:
        gateway: What answers the API.
        db: The store.
        sessions: Who is signed in.
        pages: The templates.
    """

    def __init__(self, gateway: Gateway, db: Database, sessions: Sessions, pages: Pages) -> None:
        self.gateway = gateway
        self.db = db
        self.sessions = sessions
        self.pages = pages

    def route(self, page: str, handler: Handler, path: str = "", method: str = "GET") -> Route:
        """Return the route of a page, or of what one does there.

        Args:
            page: The page's name, which says who may.
            handler: Answers.
            path: Behind the page's own.
            method: GET or POST.
        """

        async def answer(request: Request) -> Response:
            visitor = await self.sessions.visitor(request)
            if visitor is None:
                asked = urlencode({"next": request.scope["path"]}) if method == "GET" else ""
                return RedirectResponse(f"{SIGN_IN}?{asked}", 303)
            request.state.visitor = visitor
            form = await read_form(request) if method == "POST" else {}
            if method == "POST":
                check_form(request, visitor.token, form.get(FIELD, ""))
            if not any(visitor.key.allows(role) for role in ROLES[page]):
                names = " or ".join(ROLES[page])
                raise PermissionDenied(f"This needs a key with the role {names}.")
            calls = Calls(self.gateway, visitor.key, request)
            return await handler(Visit(request, visitor, form, calls))

        return Route(f"{endpoints.CONSOLE}/{page}{path}", answer, methods=[method])


async def read_form(request: Request) -> dict[str, str]:
    """Return a form's fields.

    Raises:
        BodyTooLarge: It is longer than FORM_BYTES.
        InvalidRequest: It is no form of ours.
    """
    headers = {name.lower(): value for name, value in request.headers.raw}
    body = await read_body(headers, request.receive, FORM_BYTES)
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict"
        )
    except ValueError as exc:  # not UTF-8, or too many fields
        raise InvalidRequest("The form cannot be read.") from exc
    # Browsers send line ends as CRLF; a text's own are plain.
    return {name: value.replace("\r\n", "\n") for name, value in pairs}
