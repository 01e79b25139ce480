"""The way of a request: authenticate, route, run in vLLM's app, capture.

This is the hot path, an ASGI application around vLLM's. It does no database round trip, waits for
no disk and takes no lock; per streamed chunk it appends one reference to a list. What it knows —
keys, routes, loaded adapters — lies in memory and is replaced in the background.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import orjson

from serving import deadline, grammar_limits, inquiry, metrics, shape, tasks
from serving.adapters import Adapters
from serving.admission import Admission
from serving.answer import Answer, ask_for_usage
from serving.capture import Capture
from serving.chain import Chains
from serving.deadlines import Deadline
from serving.errors import (
    InvalidRequest,
    PermissionDenied,
    SwitchboardError,
    Unauthenticated,
    Unavailable,
)
from serving.health import Health
from serving.http import (
    Disconnected,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    json_object,
    json_value,
    read_body,
    replay,
    send_error,
    send_json,
)
from serving.inquiry import Inquiry
from serving.journal import Journal
from serving.keys import ApiKey, KeyRing, Role
from serving.priority import Priorities, sequences
from serving.prompts import Prompt, Task
from serving.routing import Target
from serving.settings import Settings
from serving.visit import Visit

logger = logging.getLogger(__name__)

DRAIN_CHECK_S = 0.05
CUT_S = 2.0
_REPLACED_HEADERS = frozenset(
    {
        b"x-request-id",
        b"content-length",
        b"content-type",
        b"authorization",
        b"transfer-encoding",
        b"x-vllm-priority",  # it would go before the body's `priority`, which we check
    }
)
_CALLERS = (Role.SERVICE, Role.AGENT, Role.TRAINER)
# Who calls where authentication is off or not needed.
_ANYONE = ApiKey.anonymous()

App = Callable[[Scope, Receive, Send], Any]


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
        health: What the health page says.
        settings: The configuration.
        replica: This replica's name, stored with each interaction.
    """

    def __init__(
        self,
        *,
        engine_app: App,
        api_app: App,
        keys: KeyRing,
        adapters: Adapters,
        admission: Admission,
        chains: Chains,
        journal: Journal,
        prompts: dict[tuple[str, Task], Prompt],
        sampling_fields: frozenset[str],
        health: Health,
        settings: Settings,
        replica: str,
    ) -> None:
        self._engine_app = engine_app
        self._api_app = api_app
        self._keys = keys
        self._adapters = adapters
        self._admission = admission
        self._priorities = Priorities(settings.limits.priorities)
        self._schedules = settings.engine.get("scheduling_policy", "priority") == "priority"
        self._chains = chains
        self._journal = journal
        self._prompts = prompts
        self._sampling_fields = sampling_fields
        self._health = health
        self._settings = settings
        self._replica = replica
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._cut = False

    @property
    def settings(self) -> Settings:
        """The settings by which it answers now."""
        return self._settings

    def configure(self, settings: Settings, prompts: dict[tuple[str, Task], Prompt]) -> None:
        """Answer by other settings from the next request on; they differ in what is light."""
        self._settings, self._prompts = settings, prompts

    async def drain(self, limit_s: float, *, refuse: bool) -> None:
        """Let requests in flight finish; after `limit_s` seconds cut those that have not.

        A stream that is cut is recorded as aborted. With `refuse`, no new request is taken.
        """
        self._stopping = self._stopping or refuse
        deadline = time.monotonic() + limit_s
        while self._running and time.monotonic() < deadline:
            await asyncio.wait(self._running.copy(), timeout=DRAIN_CHECK_S)
        self._cut = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.copy(), timeout=CUT_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is answered in OpenAI's error shape."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._engine_app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._dispatch(scope, receive, watched)
        except SwitchboardError as exc:
            if not started:
                await send_error(send, exc)
        except Disconnected:
            pass
        except asyncio.CancelledError:
            if started or not self._cut:
                raise
            await send_error(send, Unavailable("The server stops before the answer is complete."))
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await send_error(send, SwitchboardError("The server made a mistake; it is logged."))

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        headers: Headers = dict(scope["headers"])
        if path == "/health":
            await send_json(send, 200, self._health.page("live"))
            return
        if self._stopping and (path == "/ready" or path in inquiry.PATHS):
            raise Unavailable("The server is stopping.")
        if path == "/ready" or (path == "/metrics" and self._settings.auth.metrics_public):
            await self._pass(scope, receive, send, path, _ANYONE)
            return
        key = await self._authenticate(headers)
        if path in inquiry.PATHS:
            if scope["method"] != "POST":
                raise InvalidRequest(f"{path} takes POST.")
            if not any(key.allows(role) for role in _CALLERS):
                raise PermissionDenied("This key's roles do not cover inference.")
            with Visit(self._admission, self._admission.arrive(key.id, key.name)) as visit:
                await self._infer(scope, headers, receive, send, key, visit)
        else:
            await self._pass(scope, receive, send, path, key)

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, path: str, key: ApiKey
    ) -> None:
        """Hand over to our own endpoints, or to the few of vLLM's that are safe to expose."""
        if path.startswith("/metrics"):
            await self._engine_app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._settings.http.body_limit_bytes)
        if body:
            json_value(body)
            headers[b"content-type"] = b"application/json"  # plain `curl -d` says otherwise
        inner = {
            **scope,
            "headers": list(headers.items()),
            "state": {**scope.get("state", {}), "key": key},
        }
        await self._api_app(inner, replay(body, receive), send)

    async def _authenticate(self, headers: Headers) -> ApiKey:
        if not self._settings.auth.enabled:
            return _ANYONE
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if not token or scheme.lower() != "bearer":
            raise Unauthenticated(
                "No API key. Send `Authorization: Bearer sb-…`; make one with "
                "`switchboard keys create`."
            )
        key = self._keys.lookup(token) or await self._keys.find(token)
        if key is None:
            raise Unauthenticated("The API key is unknown, expired or revoked.")
        return key

    async def _infer(
        self,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        send: Send,
        key: ApiKey,
        visit: Visit,
    ) -> None:
        clock = time.perf_counter()
        settings = self._settings
        sent = json_object(await read_body(headers, receive, settings.http.body_limit_bytes))
        shape.check(sent)
        grammar_limits.check(sent, settings.limits.grammars)
        asked = inquiry.read(
            scope["path"],
            sent,
            conversation_id=_header(headers, b"x-conversation-id"),
            base=settings.served_name,
            lobs=settings.lobs,
            sampling_fields=self._sampling_fields,
        )
        request_id = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
        unit = asked.conversation_id or request_id  # what a canary's share is drawn by
        target = self._adapters.table.resolve(asked.model, unit)
        lob = asked.lob or target.lob
        if lob and not key.allows_lob(lob):
            raise PermissionDenied(f"This key does not cover {lob}.", param="model")
        priority = self._priorities.of(
            asked.task, sent.get("priority"), trusted=key.allows(Role.TRAINER)
        )
        limits = settings.lobs[lob].limits if lob else settings.limits.base
        until = Deadline(limits.timeout_s, clock)
        level = self._priorities.level(priority)
        if await visit.enter(lob or "", level, sequences(sent), until):
            # A rollout may have moved the route meanwhile.
            target = self._adapters.table.resolve(asked.model, unit)
        prompt, request = self._engine_request(asked)
        if self._schedules and (priority or "priority" in request):
            request["priority"] = priority
        if target.pinned and target.lob:
            await self._check_pinned(target, key)
        request["model"] = target.version
        stream = request.get("stream") is True
        hide_usage = stream and ask_for_usage(asked.engine_path, request)
        if asked.engine_path == inquiry.RESPONSES:
            request["request_id"] = f"{asked.id_prefix}{request_id}"
        capture = Capture(
            id=f"{asked.id_prefix}{request_id}",
            endpoint=asked.endpoint,
            task=asked.task,
            lob=lob,
            model=asked.model,
            version=target.version,
            base=settings.served_name,
            key_id=key.id or None,
            replica=self._replica,
            request=orjson.dumps(request),
            stream=stream,
            conversation_id=asked.conversation_id,
            turn=asked.turn,
            prompt=(prompt.name, prompt.hash) if prompt else None,
            clock=clock,
        )
        answer = Answer(
            send, capture, self._journal, hide_usage=hide_usage, waited_s=visit.waited_s
        )

        def inner_scope(body: bytes) -> Scope:
            return {
                **scope,
                "path": asked.engine_path,
                "raw_path": asked.engine_path.encode(),
                "headers": _inner_headers(headers, request_id, len(body)),
            }

        self._adapters.acquire(target.version)
        metrics.INFLIGHT.inc()
        if (running := asyncio.current_task()) is not None:
            self._running.add(running)
        try:
            await self._ask(target, asked, request, inner_scope, receive, answer, capture, until)
        finally:
            answer.close()
            if running is not None:
                self._running.discard(running)
            metrics.INFLIGHT.dec()
            self._adapters.release(target.version)

    def _engine_request(self, asked: Inquiry) -> tuple[Prompt | None, dict[str, Any]]:
        """The body that vLLM gets but for what is ours to set, and the prompt that made it."""
        if asked.of_task is None:
            return None, asked.sent
        task, lob = tasks.PATHS[asked.endpoint], asked.of_task.lob
        prompt = self._prompts[lob, task]
        return prompt, tasks.chat_body(task, asked.of_task, prompt, self._settings.lobs[lob])

    async def _ask(
        self,
        target: Target,
        asked: Inquiry,
        request: dict[str, Any],
        inner_scope: Callable[[bytes], Scope],
        receive: Receive,
        answer: Answer,
        capture: Capture,
        until: Deadline,
    ) -> None:
        """Have the version answer, or the line's fallback chain where it has one."""
        path, body = asked.engine_path, capture.request
        if steps := self._chains.steps(target, path):

            async def chained(_: Scope, receive: Receive, send: Send) -> None:
                await self._chains.answer(steps, path, request, inner_scope, receive, send, capture)

            await deadline.run(chained, inner_scope(body), None, receive, answer, until)
            return
        if "@" in target.version and target.version not in self._adapters.loaded:
            await self._adapters.ensure(await self._adapters.describe(target.version))
        await deadline.run(self._engine_app, inner_scope(body), body, receive, answer, until)

    async def _check_pinned(self, target: Target, key: ApiKey) -> None:
        """Versions that the gate has not passed answer only those who train and administer."""
        if target.version in self._adapters.table.serving() or key.allows(Role.TRAINER):
            return
        version = await self._adapters.describe(target.version)
        if version.state in {"candidate", "rejected"}:
            raise PermissionDenied(
                f"{target.version} is {version.state}: only trainer and admin keys may call it.",
                param="model",
            )


def _header(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return value.decode("latin-1")[:256] if value else None


def _inner_headers(headers: Headers, request_id: str, length: int) -> list[tuple[bytes, bytes]]:
    """The headers that vLLM sees: our request id (it becomes the response id), no credentials."""
    kept = [(name, value) for name, value in headers.items() if name not in _REPLACED_HEADERS]
    return [
        *kept,
        (b"content-type", b"application/json"),  # it was parsed; plain `curl -d` says otherwise
        (b"x-request-id", request_id.encode()),
        (b"content-length", str(length).encode()),
    ]
