"""Shadows: a candidate answers copies of a line's live requests, in the background and unseen.

A copy begins when the live answer has been sent, takes a place that nobody wants
(`Admission.spare`) and goes last in the engine; whatever stands in its way, it is dropped. What it
answers is kept apart from the interactions. Losing some is fine: each answer is compared with its
own request's, so what is lost makes the comparison smaller and not wrong, as long as losing has
nothing to do with what the shadow would have said.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson

from serving import endpoints
from serving.adapters.manager import AdapterManager
from serving.admission.deadline import Deadline
from serving.admission.fair_queue import Admission
from serving.admission.priority import sequences
from serving.asgi import App, Message
from serving.capture.interaction import Capture, to_record
from serving.config.lobs import Shadow
from serving.config.settings import Settings
from serving.draws import shadowed
from serving.errors import StoreUnavailable, SwitchboardError
from serving.fallback.chain import Chains
from serving.fallback.engine_request import EngineRequest
from serving.gateway import cancellation
from serving.observability import metrics
from serving.routing import Target
from serving.store.shadows import ShadowRecord

logger = logging.getLogger(__name__)

LOWEST = 2**31 - 1
"""The engine's priority of shadows: after all that anybody waits for."""

STORE_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses before an answer is stored, since its interaction must be there first."""

UNSTORED = 100
"""Answers that may wait to be stored; further requests are not shadowed meanwhile."""


def schedules(settings: Settings) -> bool:
    """Whether the engine schedules by priority."""
    return bool(settings.engine.get("scheduling_policy", "priority") == "priority")


def wanted(shadow: Shadow, capture: Capture, live: str) -> bool:
    """Whether a shadow should answer what a version has answered.

    Args:
        shadow: The line's.
        capture: The live answer's.
        live: The version that is live for the line, or the base's name.
    """
    return (
        shadow.version != live
        and capture.model_requested == capture.lob  # neither pinned nor the base by its own name
        and capture.version == live  # neither the canary nor a step of the fallback chain
        and shadowed(shadow.version, shadow.share, capture.conversation_id or "")
    )


def copied(path: str, body: dict[str, Any], version: str, *, last: bool) -> dict[str, Any]:
    """Return the body that asks a shadow what the live version was asked: never streamed, last.

    Args:
        path: vLLM's endpoint.
        body: What the live version was asked; it stays as it is.
        version: The shadow.
        last: Ask for the lowest priority; the engine must take priorities.
    """
    copy = {**body, "model": version, "stream": False}
    copy.pop("stream_options", None)
    if path == endpoints.RESPONSES:
        copy["request_id"] = f"{body['request_id']}-shadow"
    if last:
        copy["priority"] = LOWEST
    return copy


class Unseen:
    """An answer that is only captured; `cancellation.Answer`'s interface."""

    def __init__(self, capture: Capture) -> None:
        self.status = 0
        self.ended = False
        self._capture = capture

    @property
    def lob(self) -> str:
        """The line of business."""
        return self._capture.lob or ""

    @property
    def ending(self) -> bool:
        """Whether all is answered."""
        return self.ended

    async def send(self, message: Message) -> None:
        """Keep a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._capture.chunks.append(message.get("body", b""))
            self.ended = not message.get("more_body", False)

    def stop(self, status: int) -> bool:
        """Count it as failed."""
        self.status, begun = status, self.status != 0
        return begun

    async def fail(self, error: SwitchboardError) -> None:
        """Nobody is to be told."""


class Shadows:
    """Answers copies of requests on this replica.

    Args:
        engine_app: vLLM's OpenAI app.
        adapters: The replica's adapters and routing table.
        admission: Whose spare places are taken.
        keep: Stores an answer; False if its interaction is not in the store.
        settings: The configuration: the engine's scheduling, and the adapters it runs at once.
        chains: What answers for a shadow that an upstream answers.
    """

    def __init__(
        self,
        engine_app: App,
        adapters: AdapterManager,
        admission: Admission,
        keep: Callable[[ShadowRecord], Awaitable[bool]],
        settings: Settings,
        chains: Chains,
    ) -> None:
        self._engine_app = engine_app
        self._adapters = adapters
        self._admission = admission
        self._keep = keep
        self._chains = chains
        self._max_active = settings.adapters.max_active
        self._schedules = schedules(settings)
        self._running: Counter[str] = Counter()
        self._stopped = False
        self.tasks: set[asyncio.Task[None]] = set()

    def offer(self, shadow: Shadow | None, request: EngineRequest, timeout_s: float | None) -> None:
        """Have a line's shadow answer a request that has been answered; returns at once.

        Args:
            shadow: The line's, if it has one.
            request: As the live version got it.
            timeout_s: The line's deadline, which is the shadow's, too.
        """
        if shadow is None:
            return
        table, lob = self._adapters.table, request.capture.lob or ""
        route = table.routes.get(lob)
        if not wanted(shadow, request.capture, (route.live if route else None) or table.base):
            return
        if reason := self._refused(shadow, lob, request.body):
            metrics.SHADOW.labels(lob, reason).inc()
            return
        self._running[lob] += 1
        task = asyncio.create_task(self._shadow(shadow, request, timeout_s))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def stop(self) -> None:
        """Cut what runs, take no more, and wait until the engine is told."""
        self._stopped = True
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks.copy())

    def _refused(self, shadow: Shadow, lob: str, body: dict[str, Any]) -> str | None:
        if self._stopped:
            return "stopped"
        if self._running[lob] >= shadow.max_running or len(self.tasks) >= UNSTORED:
            return "busy"
        if body.get("continue_final_message"):
            return "draft"  # what is compared is whole replies
        if sequences(body) > 1:  # which of several answers was meant is not known before
            return "several"
        if shadow.version in self._adapters.loaded and self._full(shadow.version):
            return "no_slot"
        return None

    def _full(self, version: str) -> bool:
        """Whether the engine would hold live requests back to swap adapters."""
        active = self._adapters.table.serving() | {version} | self._adapters.inflight.keys()
        slots = [one for one in active if "@" in one and not self._adapters.upstream(one)]
        return len(slots) > self._max_active

    async def _shadow(
        self, shadow: Shadow, request: EngineRequest, timeout_s: float | None
    ) -> None:
        lob, outcome = request.capture.lob or "", "failed"
        try:
            try:
                answer = await self._answered(shadow, request, timeout_s)
            finally:
                self._running[lob] -= 1
            if isinstance(answer, str):
                outcome = answer
            else:
                outcome = "answered" if await self._stored(answer) else "lost"
        except asyncio.CancelledError:  # by `stop` or by a request that needs the place
            outcome = "cut"
        except Exception as exc:  # whatever a candidate does must not end the replica
            logger.warning("%s: the shadow %s failed: %r", lob, shadow.version, exc)
        finally:
            metrics.SHADOW.labels(lob, outcome).inc()

    async def _answered(
        self, shadow: Shadow, live: EngineRequest, timeout_s: float | None
    ) -> ShadowRecord | str:
        """The shadow's answer, or the outcome without one."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        version = shadow.version
        if version not in self._adapters.loaded:
            known = await self._adapters.describe(version)
            if known.upstream is None and self._full(version):
                return "no_slot"
            await self._adapters.ensure(known)
        claim = self._admission.spare(live.capture.lob or "", task.cancel)
        if claim is None:
            return "no_place"
        self._adapters.acquire(version)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._asked(version, live)
        finally:
            self._adapters.release(version)
            self._admission.release(claim)

    async def _asked(self, version: str, live: EngineRequest) -> ShadowRecord | str:
        body = copied(live.path, live.body, version, last=self._schedules)
        if live.render is not None:  # each version is asked by its own prompt
            body["messages"] = live.render(version).messages
        old = live.capture
        capture = Capture(
            id=old.id,
            endpoint=old.endpoint,
            task=old.task,
            lob=old.lob,
            model_requested=version,
            version=version,
            base_model=old.base_model,
            key_id=None,
            replica=old.replica,
            request=orjson.dumps(body),
            stream=False,
            conversation_id=old.conversation_id,
            turn_position=old.turn_position,
        )
        id_, template = f"{live.request_id}-shadow", live.template
        request = EngineRequest(live.path, body, capture, live.scope, live.headers, id_, template)
        sent, answer = request.engine_body(), Unseen(capture)
        scope, never = request.asgi_scope(sent), Deadline(None, capture.clock)
        steps = self._chains.steps(Target(version, old.lob, pinned=True), live.path, body)
        app = self._chains.app(steps, request) if steps else self._engine_app
        await cancellation.run(app, scope, None if steps else sent, _silence, answer, never)
        if answer.status != 200 or not answer.ended:
            return "failed"
        record = to_record(capture.payload("completed"))
        return ShadowRecord(
            interaction_id=old.id,
            version=version,
            output=record.output,
            finish_reason=record.finish_reason,
            latency_ms=record.latency_ms,
        )

    async def _stored(self, answer: ShadowRecord) -> bool:
        for wait_s in STORE_WAITS_S:
            await asyncio.sleep(wait_s)
            with suppress(StoreUnavailable):
                if await self._keep(answer):
                    return True
        return False


async def _silence() -> Message:
    """What a client says that waits for ever."""
    said: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await said
