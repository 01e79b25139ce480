"""Websockets: who may open one, and how all end when the server stops.

A browser can set no header of a handshake, so a page names its key among the subprotocols, as for
OpenAI's server. Pages of any origin may open websockets, and no browser asks before, so the origins
that may are those of CORS.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from serving import endpoints, errors
from serving.asgi import App, Headers, Receive, Scope, Send, deny, plain_path
from serving.auth import ApiKey

logger = logging.getLogger(__name__)

KEY_PROTOCOL = "openai-insecure-api-key."
CUT_S = 2.0


class Sockets:
    """What opens websockets, and closes them.

    Args:
        app: Answers them; the scope's `state` has `key`, `count` (counts a call of the key's and
            raises where it may not ask any more), and the events `stopping` and `cut`.
        authenticate: Returns the key in force that a request's head names.
        count: Counts a call of a key's.
        in_force: Returns the key of an id, or None where it may not ask any more.
        origins: Returns the origins whose pages may open one.
        saw: Takes note of where a key is used from.
    """

    def __init__(
        self,
        app: App,
        *,
        authenticate: Callable[[Headers], Awaitable[ApiKey]],
        count: Callable[[ApiKey], None],
        in_force: Callable[[str], ApiKey | None],
        origins: Callable[[], Sequence[str]],
        saw: Callable[[str, Scope], None],
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._count = count
        self._in_force = in_force
        self._origins = origins
        self._saw = saw
        self._stopping = asyncio.Event()
        self._cut = asyncio.Event()
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake: with an error before it is accepted, or by the application."""
        try:
            key = await self._who(scope)
        except errors.SwitchboardError as exc:
            await deny(scope, send, exc)
            return
        except Exception:
            logger.exception("the handshake of %s failed", scope["path"])
            mistake = errors.SwitchboardError("The server made a mistake; it is logged.")
            await deny(scope, send, mistake)
            return

        def count() -> None:
            if self._in_force(key.id) is None:
                raise errors.Unauthenticated("The API key has expired or was revoked.")
            self._count(key)

        state = {"key": key, "count": count, "stopping": self._stopping, "cut": self._cut}
        path = plain_path(scope["path"])
        inner = {**scope, "path": path, "raw_path": path.encode()}
        inner["state"] = {**scope.get("state", {}), **state}
        self._open += 1
        self._none_open.clear()
        try:
            await self._app(inner, receive, send)
        finally:
            self._open -= 1
            if not self._open:
                self._none_open.set()

    async def _who(self, scope: Scope) -> ApiKey:
        if plain_path(scope["path"]) != endpoints.REALTIME:
            raise errors.NotFound("There is no such websocket.")
        if self._stopping.is_set():
            raise errors.Unavailable("The server is stopping.")
        headers: Headers = dict(scope["headers"])
        if not may_open(headers, self._origins()):
            raise errors.PermissionDenied("Pages of this origin may not call the server.")
        key = await self._authenticate(named(headers, scope.get("subprotocols", ())))
        self._saw(key.id, scope)
        self._count(key)
        return key

    async def drain(self, limit_s: float) -> None:
        """Open no more, and have those that are open end: after `limit_s` seconds at once."""
        self._stopping.set()
        try:
            async with asyncio.timeout(limit_s):
                await self._none_open.wait()
        except TimeoutError:
            self._cut.set()
            await asyncio.wait({asyncio.ensure_future(self._none_open.wait())}, timeout=CUT_S)


def named(headers: Headers, protocols: Sequence[str]) -> Headers:
    """Return a handshake's head with the key that its subprotocols name, unless it has one."""
    found = next((one for one in protocols if one.startswith(KEY_PROTOCOL)), None)
    if found is None or b"authorization" in headers:
        return headers
    token = found.removeprefix(KEY_PROTOCOL)
    return {**headers, b"authorization": f"Bearer {token}".encode("latin-1", "replace")}


def may_open(headers: Headers, origins: Sequence[str]) -> bool:
    """Whether a handshake comes from no page, one of the server's own, or one of these origins."""
    origin = headers.get(b"origin")
    if origin is None or "*" in origins:
        return True
    said = origin.decode("latin-1")
    return said in origins or urlsplit(said).netloc == headers.get(b"host", b"").decode("latin-1")
