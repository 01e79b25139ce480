"""What a page asks of the API, in process and with the session's key: the path of any request."""

from typing import Any
from urllib.parse import quote

import httpx
from starlette.requests import Request

from serving.alerts.client_address import PEER
from serving.asgi import Receive, Scope, Send
from serving.auth import ApiKey
from serving.errors import NotFound, SwitchboardError
from serving.gateway.app import Gateway

KEPT = frozenset({PEER, "x-forwarded-for", "x-conversation-id"})
"""Headers of the browser's that go on: where a key is used from, and to which replica."""


class Refused(SwitchboardError):
    """The API refused what a page asked for.

    Args:
        status: The answer's.
        message: The error's.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answered = status


class Calls:
    """Asks the API for somebody.

    Args:
        gateway: What answers.
        key: Who asks.
        request: The browser's request.
    """

    def __init__(self, gateway: Gateway, key: ApiKey, request: Request) -> None:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            peer = request.scope.get("client")
            await gateway.as_key(key, {**scope, "client": peer}, receive, send)

        self._transport = httpx.ASGITransport(answer)
        self._headers = [(n, v) for n, v in request.headers.items() if n in KEPT]

    async def get(self, *path: str, **query: str) -> Any:
        """Return an answer's JSON.

        Args:
            path: The endpoint, then parts of a path that may be anything.
            query: Its parameters.

        Raises:
            Refused: The answer is an error.
        """
        return (await self._ask("GET", path, query, None)).json()

    async def text(self, path: str) -> str:
        """Return an answer as it is; raises Refused."""
        return (await self._ask("GET", (path,), {}, None)).text

    async def post(self, *path: str, body: dict[str, Any]) -> Any:
        """Return an answer's JSON; raises Refused."""
        return (await self._ask("POST", path, {}, body)).json()

    async def _ask(
        self, method: str, path: tuple[str, ...], query: dict[str, str], body: dict[str, Any] | None
    ) -> httpx.Response:
        first, *rest = path
        if {".", ".."} & {*rest}:  # which a URL would leave out
            raise NotFound("There is no such page.")
        url = httpx.URL(
            "http://console" + "/".join([first, *(quote(part, safe="@") for part in rest)]),
            params=query or None,
        )
        asked = httpx.Request(method, url, headers=self._headers, json=body)
        answer = await self._transport.handle_async_request(asked)
        await answer.aread()
        if answer.is_error:
            raise Refused(answer.status_code, _said(answer))
        return answer


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "The server did not say why."
