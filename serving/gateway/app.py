"""A replica's ASGI application: authenticates, and hands each request to what answers it.

Inference goes to `serving.gateway.inference`, everything else to our own endpoints. Keys lie in
memory; one that is not there yet is looked up in the store.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from serving import endpoints, errors
from serving.adapters.manager import AdapterManager
from serving.admission.fair_queue import Admission
from serving.admission.key_rate import KeyRates
from serving.asgi import (
    App,
    Disconnected,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    json_value,
    plain_path,
    read_body,
    replay,
    send_error,
    send_json,
)
from serving.auth import ApiKey, KeyRing, Role
from serving.capture import Journal
from serving.capture.health import Health
from serving.chat_template import ChatTemplate
from serving.config.prompts import Prompt, Task
from serving.config.settings import Settings
from serving.fallback.chain import Chains
from serving.gateway import capturing, cors, direct, request
from serving.gateway.direct import Answer, refused
from serving.gateway.entrance import authentication
from serving.gateway.entrance.sockets import Sockets
from serving.gateway.exchange import Exchange
from serving.gateway.guarding.checks import Guarding
from serving.gateway.inference import Inference
from serving.gateway.shadow import Shadows
from serving.knowledge.libraries import Libraries
from serving.observability.logs import REQUEST_ID
from serving.observability.tracing import Tracing
from serving.untrusted_text import SpecialTokens

logger = logging.getLogger(__name__)

DRAIN_CHECK_S = 0.05
CUT_S = 2.0
_METRICS = frozenset({endpoints.METRICS, f"{endpoints.METRICS}/"})
_CALLERS = (Role.SERVICE, Role.AGENT, Role.TRAINER)
_ANYONE = authentication.ANYONE


class Gateway:
    """The ASGI application of a replica.

    Args:
        engine_app: vLLM's OpenAI app.
        api_app: Our own endpoints: feedback, interactions, adapters, models.
        keys: API keys in memory.
        adapters: The replica's adapters and routing table.
        admission: Who is answered now, who waits and who is turned away.
        chains: What answers where a line's version cannot.
        journal: Where interactions become durable.
        prompts: The prompt of each (line of business, task).
        sampling_fields: Chat-completion fields that task requests may set.
        special_tokens: The base's, which are broken up where they stand in a text.
        template: The base's, in whose form the engine gets chats.
        health: What the health page says.
        settings: The configuration.
        shadows: What answers copies of requests unseen.
        libraries: The lines' knowledge and responses.
        replica: This replica's name, stored with each interaction.
        metrics_page: What answers /metrics; without one, the engine's app does.
        tracing: What makes spans of requests, where they are traced.
        saw: Takes note of where a key is used from; does no I/O.
    """

    def __init__(
        self,
        *,
        engine_app: App,
        api_app: App,
        keys: KeyRing,
        adapters: AdapterManager,
        admission: Admission,
        chains: Chains,
        journal: Journal,
        prompts: dict[tuple[str, Task], Prompt],
        sampling_fields: frozenset[str],
        special_tokens: SpecialTokens,
        template: ChatTemplate,
        health: Health,
        settings: Settings,
        shadows: Shadows,
        guarding: Guarding,
        libraries: Libraries,
        replica: str,
        metrics_page: App | None = None,
        tracing: Tracing | None = None,
        saw: Callable[[str, Scope], None] = lambda *_: None,
    ) -> None:
        self._saw = saw
        self._metrics_page = metrics_page or engine_app
        self._tracing = tracing
        self._engine_app = engine_app
        self._api_app = api_app
        self._keys = keys
        self._health = health
        self._settings = settings
        self._shadows = shadows
        self._rates = KeyRates(settings.limits, settings.replicas)
        self._inference = Inference(
            engine_app=engine_app,
            adapters=adapters,
            admission=admission,
            chains=chains,
            journal=journal,
            prompts=prompts,
            sampling_fields=sampling_fields,
            special_tokens=special_tokens,
            template=template,
            settings=settings,
            shadows=shadows,
            guarding=guarding,
            libraries=libraries,
            replica=replica,
        )
        self._entrance = cors.opened(self._answer, settings.http.cors_origins)
        self._sockets = Sockets(
            api_app,
            authenticate=self._authenticate,
            count=lambda key: self._rates.take(key),
            in_force=self.caller,
            origins=lambda: self._settings.http.cors_origins,
            saw=saw,
        )
        self._stopping = False
        self._cut = False
        self.console: App | None = None  # it knows who asks by a session, and comes back by as_key

    @property
    def settings(self) -> Settings:
        """The settings by which it answers now."""
        return self._settings

    def configure(self, settings: Settings, prompts: dict[tuple[str, Task], Prompt]) -> None:
        """Answer by other settings from the next request on; they differ in what is light."""
        self._settings = settings
        self._rates = KeyRates(settings.limits, settings.replicas)
        self._inference.configure(settings, prompts)
        self._entrance = cors.opened(self._answer, settings.http.cors_origins)

    async def drain(self, limit_s: float, *, refuse: bool) -> None:
        """Let requests in flight finish; after `limit_s` seconds cut those that have not.

        A stream that is cut is recorded as aborted; shadows, for which nobody waits, are cut at
        once, and so are websockets between two turns. With `refuse`, no new request is taken.
        """
        self._stopping = self._stopping or refuse
        deadline = time.monotonic() + limit_s
        closing = asyncio.create_task(self._sockets.drain(limit_s))
        await self._shadows.stop()
        running = self._inference.running
        while running and time.monotonic() < deadline:
            await asyncio.wait(running.copy(), timeout=DRAIN_CHECK_S)
        self._cut = True
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running.copy(), timeout=CUT_S)
        await closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is answered in OpenAI's error shape."""
        if scope["type"] == "http":
            await self._entrance(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._engine_app(scope, receive, send)

    async def as_key(self, key: ApiKey, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what somebody asks who is known to hold a key, as any request with that key."""
        await self._answer(scope, receive, send, key)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, key: ApiKey | None = None
    ) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._route(scope, receive, watched, key)
        except errors.SwitchboardError as exc:
            if not started:
                await send_error(send, exc)
        except Disconnected:
            pass
        except asyncio.CancelledError:
            if started or not self._cut:
                raise
            cut = errors.Unavailable("The server stops before the answer is complete.")
            await send_error(send, cut)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await send_error(
                send, errors.SwitchboardError("The server made a mistake; it is logged.")
            )

    async def _route(self, scope: Scope, receive: Receive, send: Send, key: ApiKey | None) -> None:
        path = plain_path(scope["path"])
        scope = {**scope, "path": path, "raw_path": path.encode()}
        headers: Headers = dict(scope["headers"])
        if path == endpoints.HEALTH:
            await send_json(send, 200, self._health.page("live"))
            return
        if self._stopping and (path == "/ready" or path in request.PATHS):
            raise errors.Unavailable("The server is stopping.")
        if path == endpoints.READY or (
            path == endpoints.METRICS and self._settings.auth.metrics_public
        ):
            await self._pass(scope, receive, send, path, _ANYONE)
            return
        own = f"{path}/".startswith(f"{endpoints.CONSOLE}/")
        if own and key is None and self.console is not None:
            await self.console(scope, receive, send)
            return
        key = key or await self._authenticate(headers)
        self._saw(key.id, scope)
        if path in request.PATHS:
            if scope["method"] != "POST":
                raise errors.MethodNotAllowed(f"{path} takes POST.", headers={"allow": "POST"})
            if not any(key.allows(role) for role in _CALLERS):
                raise errors.PermissionDenied("This key's roles do not cover inference.")
            exchange = Exchange(scope, headers, receive, send, key)
            REQUEST_ID.set(exchange.id)
            await capturing.answered(exchange, self._tracing, self._inference.answer)
        else:
            self._rates.take(key)
            await self._pass(scope, receive, send, path, key)

    def caller(self, key_id: str) -> ApiKey | None:
        """The key in force for which a batch's lines are asked, or None."""
        if not key_id:
            return None if self._settings.auth.enabled else _ANYONE
        key = self._keys.of_id(key_id)
        return key if key and any(key.allows(role) for role in _CALLERS) else None

    async def line(self, key: ApiKey, path: str, body: bytes, id_: str) -> Answer:
        """Answer a batch's line as any request, but by places that no request wants.

        Args:
            key: Whose batch it is.
            path: The endpoint.
            body: The request's body.
            id_: The request's id: the same for the same line, so that it is captured once.
        """
        if self._stopping:
            return refused(errors.Unavailable("The server is stopping."))
        return await direct.ask(self._inference, key, path, body, id_)

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, path: str, key: ApiKey
    ) -> None:
        """Hand over to our own endpoints, or to the few of vLLM's that are safe to expose."""
        if path in _METRICS:
            await self._metrics_page(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        if path in endpoints.UPLOADS and scope["method"] == "POST":  # it reads a file as it comes
            inner = {**scope, "state": {**scope.get("state", {}), "key": key}}
            await self._api_app(inner, receive, send)
            return
        body = await read_body(headers, receive, self._settings.http.body_limit_bytes)
        if body:
            json_value(body)
            headers[b"content-type"] = b"application/json"  # plain `curl -d` says otherwise
            headers.pop(b"content-encoding", None)  # it is decoded
        inner = {
            **scope,
            "headers": list(headers.items()),
            "state": {**scope.get("state", {}), "key": key},
        }
        await self._api_app(inner, replay(body, receive), send)

    async def _authenticate(self, headers: Headers) -> ApiKey:
        return await authentication.known(headers, self._keys, self._settings.auth.enabled)
