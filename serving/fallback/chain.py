"""Asks the steps of a fallback chain in turn, until one has given its first byte.

What is known to be dead is not asked: the engine's own word is free, and circuit breakers skip an
engine that hangs, a version that cannot be loaded, and an upstream that is down. Each step is
noted on the interaction. A version that an upstream answers goes this way alone, too.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from serving.adapters.manager import AdapterManager
from serving.asgi import App, Receive, Scope, Send
from serving.capture.interaction import Capture
from serving.config.settings import Settings
from serving.errors import InvalidRequest, SwitchboardError, Unavailable
from serving.fallback import policy
from serving.fallback.attempt import Attempt, Client
from serving.fallback.circuit_breaker import Breaker, Permit, give_back
from serving.fallback.engine_request import EngineRequest
from serving.fallback.policy import Reason, Step
from serving.fallback.upstream import Upstream
from serving.observability import metrics, tracing
from serving.routing import Target
from serving.store.records import UPSTREAM

logger = logging.getLogger(__name__)
GRACE_S = 0.2


class Chains:
    """The fallback chains of all lines of business, with this replica's circuit breakers.

    Args:
        engine_app: vLLM's OpenAI app.
        engine_check: Raises `Unavailable` if the engine is dead; does no I/O.
        adapters: The replica's adapters and routing table.
        settings: The configuration.
    """

    def __init__(
        self,
        engine_app: App,
        engine_check: Callable[[], None],
        adapters: AdapterManager,
        settings: Settings,
    ) -> None:
        self._engine_app = engine_app
        self._engine_check = engine_check
        self._adapters = adapters
        self.configure(settings)
        self._upstreams = {name: Upstream(name, its) for name, its in settings.upstreams.items()}
        self._breakers: dict[str, Breaker] = {}

    def configure(self, settings: Settings) -> None:
        """Take other chains and limits from the next request on; the upstreams stay."""
        self._limits = settings.fallback
        self._chains = {name: lob.fallback for name, lob in settings.lobs.items() if lob.fallback}

    @property
    def reaches_upstreams(self) -> bool:
        """Whether a line can be answered without our engine."""
        if any(map(self._adapters.upstream, self._adapters.table.serving())):
            return True
        return any(step.startswith(UPSTREAM) for c in self._chains.values() for step in c)

    def steps(
        self, target: Target, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[Step, ...]:
        """The steps of a request; none where the engine alone is asked.

        Args:
            target: The version chosen for it.
            path: The endpoint.
            body: The request's; not all is for upstreams (`policy.takes`).

        Raises:
            InvalidRequest: An upstream answers for the version chosen, which takes no such request.
        """
        asks, chain = policy.takes(path, body or {}), self._chains.get(target.lob or "", ())
        if not chain and not self._adapters.upstream(target.version):
            return ()
        found = policy.steps(target, chain, self._adapters.table, upstreams=asks)
        first, *others = (replace(one, via=self._adapters.upstream(one.name)) for one in found)
        policy.require(first, path, body or {})
        steps = (first, *(one for one in others if asks or not one.upstream))
        return steps if len(steps) > 1 or first.via else ()

    def app(self, steps: Sequence[Step], request: EngineRequest) -> App:
        """What answers a request by these steps."""

        async def chained(_: Scope, receive: Receive, send: Send) -> None:
            await self.answer(steps, request, receive, send)

        return chained

    async def answer(
        self,
        steps: Sequence[Step],
        request: EngineRequest,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request by the first step that can.

        Args:
            steps: What `steps` returned.
            request: The engine's; its capture gets each step, and the version and the body of the
                one that answers.
            receive: The client's side; the body has been read.
            send: The client's side, behind the capture.

        Raises:
            Unavailable: No step answered.
            InvalidRequest: As `steps`, of a version that was not loaded then.
            Disconnected: The client left first.
        """
        client, capture = Client(receive), request.capture
        failed: dict[str, Reason] = {}
        engine_down: Reason | None = None
        try:
            for each in steps:
                clock = time.perf_counter()
                step, reason = await self._placed(each)
                if step.via and not policy.takes(request.path, request.body):
                    if each is steps[0]:
                        policy.require(step, request.path, request.body)
                    reason = reason or "prompt"
                if not step.upstream:
                    reason = reason or engine_down or self._dead()
                permits = {} if reason else self._ask_leave(step)
                if permits:
                    capture.version = step.name
                    attempt = self._attempt(step, client, send, capture, permits, clock)
                    try:
                        reason = await self._try(attempt, step, request)
                        if reason is None:
                            return
                        if reason != "prompt":  # which the request alone is the cause of
                            permits[policy.culprit(step, reason)].failure()
                    finally:
                        give_back(permits)
                        self._show(permits)
                reason = reason or "breaker"
                failed[step.name] = reason
                _note(capture, step, "failed" if permits else "skipped", reason, clock)
                if not step.upstream and policy.skips_engine(reason):
                    engine_down = reason
        finally:
            client.close()
            answered = capture.steps[-1] if capture.steps else {}
            by = answered["step"] if answered.get("outcome") == "answered" else ""
            for name, reason in failed.items():
                metrics.FALLBACKS.labels(capture.lob or "", name, by, reason).inc()
        tried = ", ".join(f"{name} ({reason})" for name, reason in failed.items())
        logger.warning("%s: no step answered: %s", capture.id, tried)
        if len(steps) == 1:
            raise Unavailable(f"{steps[0].name} did not answer: {failed[steps[0].name]}.")
        raise Unavailable(f"No step of {capture.lob}'s fallback chain answered: {tried}.")

    async def _placed(self, step: Step) -> tuple[Step, Reason | None]:
        """A step with the upstream that answers for its version, which its record tells.

        Whatever the engine is to answer is loaded, or fails, when it is asked.
        """
        version = step.version
        if version is None or "@" not in version:
            return step, None
        if version in self._adapters.loaded:
            return replace(step, via=self._adapters.upstream(version)), None
        try:
            async with asyncio.timeout(self._limits.first_byte_s):
                known = await self._adapters.describe(version)
                if known.upstream is None:
                    return step, None
                step = replace(step, via=known.upstream["name"])
                await self._adapters.ensure(known)
        except (SwitchboardError, TimeoutError) as exc:
            if step.via is None:
                return step, None
            logger.warning("%s failed: %r", version, exc)
            return step, "adapter"
        return step, None

    def _attempt(
        self,
        step: Step,
        client: Client,
        send: Send,
        capture: Capture,
        permits: dict[str, Permit],
        clock: float,
    ) -> Attempt:
        def begin() -> None:
            for permit in permits.values():
                permit.success()
            _note(capture, step, "answered", None, clock)

        return Attempt(step, client, send, begin, stream=capture.stream)

    async def _try(self, attempt: Attempt, step: Step, request: EngineRequest) -> Reason | None:
        """Why the step did not answer, or None if it did."""
        capture = request.capture
        if step.upstream:
            upstream = self._upstreams[step.upstream]
            return await self._try_upstream(attempt, step, upstream, request)
        limit_s = self._limits.first_byte_s if capture.stream else self._limits.answer_s
        self._adapters.acquire(step.name)
        try:
            work = self._ask_engine(attempt, step.name, request)
            reason = await attempt.run(work, limit_s, GRACE_S)
        finally:
            self._adapters.release(step.name)
        return (self._dead() or reason) if reason == "error" else reason

    async def _try_upstream(
        self, attempt: Attempt, step: Step, upstream: Upstream, request: EngineRequest
    ) -> Reason | None:
        capture = request.capture
        try:
            request.ask(step.version)
        except InvalidRequest:
            return "prompt"
        capture.request = upstream.body(request.path, request.body)
        with tracing.call(request.trace, request.path, upstream.name) as call:
            work = upstream.answer(
                request.path,
                capture.request,
                attempt.send if call is None else call.watched(attempt.send),
                id=capture.id,
                stream=capture.stream,
                traceparent=None if call is None else call.traceparent,
                model=step.version,
            )
            reason = await attempt.run(work, upstream.timeout_s, 0)
            if call is not None and reason is not None:
                call.failed(reason)
        return reason

    async def _ask_engine(self, attempt: Attempt, version: str, request: EngineRequest) -> None:
        if "@" in version and version not in self._adapters.loaded:
            attempt.loading = True
            await self._adapters.ensure(await self._adapters.describe(version))
            attempt.loading = False
        request.ask(version)
        body = request.engine_body()
        await self._engine_app(request.asgi_scope(body), attempt.receive(body), attempt.send)

    def _dead(self) -> Reason | None:
        try:
            self._engine_check()
        except Unavailable:
            return "engine"
        return None

    def _ask_leave(self, step: Step) -> dict[str, Permit]:
        """The permits of all breakers that a step needs; none if one of them is open."""
        permits: dict[str, Permit] = {}
        for target in policy.breakers(step):
            permit = self._breaker(target).ask()
            if permit is None:
                give_back(permits)
                return {}
            permits[target] = permit
        return permits

    def _show(self, targets: Iterable[str]) -> None:
        for target in targets:
            metrics.BREAKER.labels(target).set(self._breakers[target].state)

    def _breaker(self, target: str) -> Breaker:
        if target not in self._breakers:
            limits = self._limits
            self._breakers[target] = Breaker(limits.failures, limits.reset_s, time.monotonic)
        return self._breakers[target]

    def upstream(self, name: str) -> Upstream:
        """An upstream by its configured name; its connections are these chains'.

        Raises:
            KeyError: There is none.
        """
        return self._upstreams[name]

    async def close(self) -> None:
        """Close the connections to the upstreams."""
        for upstream in self._upstreams.values():
            await upstream.close()


def _note(capture: Capture, step: Step, outcome: str, reason: Reason | None, clock: float) -> None:
    ms = round((time.perf_counter() - clock) * 1e3, 1)
    noted = {"step": step.name, "outcome": outcome, "reason": reason, "ms": ms}
    capture.steps.append(noted | ({"via": f"{UPSTREAM}{step.via}"} if step.via else {}))
