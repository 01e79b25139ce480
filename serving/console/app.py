"""The console as an ASGI application: signing in and out, the pages, and what holds of all of them.

Pages are made on the server and work without JavaScript but for the desk. They ask the API in
process with the session's key, so what a key may and what is audited is decided in one place.
"""

import re
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving import endpoints
from serving.asgi import App, Message, Receive, Scope, Send
from serving.auth import KeyRing
from serving.console import adapters, desk, flywheel, operations, quality, reviews
from serving.console.calls import Refused
from serving.console.frame import SIGN_IN, Frame, read_form
from serving.console.pages import HEADERS, HERE, Pages, allowed
from serving.console.sessions import (
    COOKIE,
    FIELD,
    FORM_COOKIE,
    Sessions,
    Visitor,
    check_form,
    csrf,
    give,
    take,
)
from serving.errors import NotFound, SwitchboardError, Unauthenticated
from serving.gateway.app import Gateway
from serving.store.database import Database

Endpoint = Callable[[Request], Awaitable[Response]]
_OURS = re.compile(rf"{endpoints.CONSOLE}(/[A-Za-z0-9][A-Za-z0-9_@.-]*)*")


def build(gateway: Gateway, db: Database, keys: KeyRing) -> App:
    """Make the console.

    Args:
        gateway: What answers the API.
        db: The store.
        keys: The keys in force.
    """
    settings = gateway.settings
    sessions = Sessions(
        db,
        keys,
        enabled=settings.auth.enabled,
        lasts_s=settings.console.session_hours * 3600,
    )
    frame = Frame(gateway, db, sessions, Pages())
    site = Starlette(
        routes=[
            Route(endpoints.CONSOLE, _home(frame)),
            Route(SIGN_IN, _sign_in_page(frame), methods=["GET"]),
            Route(SIGN_IN, _sign_in(frame), methods=["POST"]),
            Route(f"{endpoints.CONSOLE}/sign-out", _sign_out(frame), methods=["POST"]),
            Mount(f"{endpoints.CONSOLE}/static", StaticFiles(directory=HERE / "static")),
            *reviews.routes(frame),
            *adapters.routes(frame, keys),
            *flywheel.routes(frame),
            *quality.routes(frame),
            *operations.routes(frame),
            *desk.routes(frame),
        ],
        exception_handlers={SwitchboardError: _error(frame), HTTPException: _error(frame)},
    )
    site.router.redirect_slashes = False  # the gateway strips them: it would lead in a circle

    async def console(scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = list(message.get("headers", ()))
                mine = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if b"cache-control" not in dict(theirs):
                    mine.append((b"cache-control", b"no-cache"))  # a newer server's script is taken
                message = {**message, "headers": [*theirs, *mine]}
            await send(message)

        await site(scope, receive, headed)

    return console


def _home(frame: Frame) -> Endpoint:
    async def home(request: Request) -> Response:
        visitor = await frame.sessions.visitor(request)
        to = SIGN_IN if visitor is None else f"{endpoints.CONSOLE}/{allowed(visitor.key)[0]}"
        return RedirectResponse(to, 303)

    return home


def _sign_in_page(frame: Frame) -> Endpoint:
    async def page(request: Request) -> Response:
        return _form(frame, request, request.query_params.get("next", ""))

    return page


def _form(
    frame: Frame, request: Request, to: str, error: SwitchboardError | None = None
) -> Response:
    values = {"next": to, "error": error.message if error else "", "keys": frame.sessions.enabled}
    holder = Response()
    token = give(holder, request, FORM_COOKIE, request.cookies.get(FORM_COOKIE, ""))
    status = 200 if error is None else error.status
    page = frame.pages.show("sign-in", None, status=status, csrf=csrf(token), **values)
    page.raw_headers += [one for one in holder.raw_headers if one[0] == b"set-cookie"]
    return page


def _sign_in(frame: Frame) -> Endpoint:
    async def sign_in(request: Request) -> Response:
        form = await read_form(request)
        check_form(request, request.cookies.get(FORM_COOKIE, ""), form.get(FIELD, ""))
        to = form.get("next", "")
        try:
            token = await frame.sessions.sign_in(form.get("key", "").strip())
        except Unauthenticated as exc:
            return _form(frame, request, to, exc)
        inside = to if _OURS.fullmatch(to) else endpoints.CONSOLE
        response = RedirectResponse(inside, 303)
        give(response, request, COOKIE, token)
        take(response, FORM_COOKIE)
        return response

    return sign_in


def _sign_out(frame: Frame) -> Endpoint:
    async def sign_out(request: Request) -> Response:
        token = request.cookies.get(COOKIE, "")
        check_form(request, token, (await read_form(request)).get(FIELD, ""))
        await frame.sessions.sign_out(token)
        response = RedirectResponse(SIGN_IN, 303)
        take(response, COOKIE)
        return response

    return sign_out


def _error(frame: Frame) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def error(request: Request, exc: Exception) -> Response:
        if isinstance(exc, HTTPException):
            status, message = exc.status_code, NotFound("There is no such page.").message
            if status != NotFound.status:
                message = str(exc.detail)
        elif isinstance(exc, SwitchboardError):
            status = exc.answered if isinstance(exc, Refused) else exc.status
            message = exc.message
        else:
            raise exc
        visitor: Visitor | None = getattr(request.state, "visitor", None)
        return frame.pages.show("error", visitor, status=status, message=message)

    return error
