"""An exchange's way: parse, authorize, guard, admit, route, ask the engine, write the answer.

This is the hot path. A request whose version is loaded makes no database round trip; a pinned
version that no alias leads to is looked up in the store. Admission takes a place in memory; the
journal's append is a synchronous write to a local file, before the last byte
(`serving.capture.interaction`). Per streamed chunk, one reference is appended to a list.
"""

import asyncio
from typing import Any

from serving.adapters.manager import AdapterManager
from serving.admission.deadline import Deadline
from serving.admission.fair_queue import Admission
from serving.admission.priority import BATCH, Priorities
from serving.admission.slot import AdmissionSlot
from serving.asgi import App, json_object, read_body
from serving.auth import Role
from serving.capture import Journal
from serving.chat_template import ChatTemplate
from serving.config.prompts import Prompt, Task
from serving.config.settings import Settings
from serving.errors import InvalidRequest, PermissionDenied
from serving.fallback.chain import Chains
from serving.fallback.engine_request import EngineRequest
from serving.gateway import authorization, cancellation, capturing, holdback, ruling
from serving.gateway import request as inquiry
from serving.gateway.exchange import Exchange
from serving.gateway.grounding import retrieval
from serving.gateway.guarding import untrusted
from serving.gateway.guarding.checks import Guarding
from serving.gateway.rendering.bodies import Bodies, Made
from serving.gateway.response import ResponseWriter, ask_for_usage
from serving.gateway.shadow import Shadows
from serving.gateway.structured import guessing
from serving.gateway.structured import telling as structured
from serving.gateway.suggesting import plan, telling
from serving.gateway.suggesting.superseding import Turns
from serving.gateway.validation import (
    allowed_fields,
    field_types,
    grammar_limits,
    media,
    tool_choice,
)
from serving.intents.live import Classifiers
from serving.knowledge.libraries import Libraries
from serving.observability import metrics
from serving.observability.tracing import stage
from serving.routing import Target
from serving.untrusted_text import SpecialTokens


class Inference:
    """Answers requests to the inference endpoints.

    Args:
        engine_app: vLLM's OpenAI app.
        adapters: The replica's adapters and routing table.
        admission: Who is answered now, who waits and who is turned away.
        chains: What answers where a line's version cannot.
        journal: Where interactions become durable.
        prompts: The prompt of each (line of business, task).
        sampling_fields: Chat-completion fields that task requests may set.
        special_tokens: The base's, which are broken up where they stand in a text.
        template: The base's, in whose form the engine gets chats.
        settings: The configuration.
        shadows: What answers copies of requests unseen.
        guarding: What checks requests and answers.
        libraries: What suggestions are made from, and offered beside.
        replica: This replica's name, stored with each interaction.
    """

    def __init__(
        self,
        *,
        engine_app: App,
        adapters: AdapterManager,
        admission: Admission,
        chains: Chains,
        journal: Journal,
        prompts: dict[tuple[str, Task], Prompt],
        sampling_fields: frozenset[str],
        special_tokens: SpecialTokens,
        template: ChatTemplate,
        settings: Settings,
        shadows: Shadows,
        guarding: Guarding,
        libraries: Libraries,
        replica: str,
    ) -> None:
        self._engine_app = engine_app
        self._adapters = adapters
        self._admission = admission
        self._chains = chains
        self._journal = journal
        self._bodies = Bodies(adapters, prompts, special_tokens, settings)
        self._sampling_fields, self._template = sampling_fields, template
        self._settings, self._shadows, self._guarding = settings, shadows, guarding
        self._libraries, self._classifiers = libraries, Classifiers(settings.adapters.uri)
        self._rules, self._turns = ruling.Rules(settings), Turns()
        self._replica = replica
        self._priorities = Priorities(settings.limits.priorities)
        self.running: set[asyncio.Task[Any]] = set()

    def configure(self, settings: Settings, prompts: dict[tuple[str, Task], Prompt]) -> None:
        """Answer by other settings from the next request on; they differ in what is light."""
        self._settings = settings
        self._bodies.configure(settings, prompts)
        self._guarding.configure(settings)
        self._libraries.configure(settings.lobs)
        self._rules.configure(settings)

    async def answer(self, exchange: Exchange) -> None:
        """Take an authenticated request to its answer.

        Raises:
            SwitchboardError: It is refused, or failed before its first byte.
            Disconnected: The client left.
        """
        key, places = exchange.key, self._admission
        who = places.nobody if exchange.batch else places.arrive(key.id, key.name)
        with AdmissionSlot(places, who) as slot:
            await self._parse(exchange)
            await authorization.check(exchange, self._adapters)
            with self._turns.begin(exchange, self._settings.lobs):
                await self._answer(exchange, slot)

    async def _answer(self, exchange: Exchange, slot: AdmissionSlot) -> None:
        trace = exchange.trace
        with stage(trace, "guards"):
            exchange.verdicts = await self._guarding.check_request(exchange)
        with stage(trace, "rules"):
            ruled = exchange.ruled = await self._rules.decide(exchange)
        by_rule = ruled is not None and ruled.text is not None
        with stage(trace, "admission"):
            priority = 0 if by_rule else await self._admit(exchange, slot)
        with stage(trace, "route"):
            self._route(exchange)
        if not by_rule:
            await retrieval.ground(exchange, self._settings.lobs, self._libraries)
            await guessing.guess(exchange, self._settings.lobs, self._classifiers)
            asked = exchange.request
            as_asked = {"continue_final_message": asked.drafted}
            if not self._chains.steps(exchange.target, asked.engine_path, as_asked):
                await self._bodies.ready(exchange)
        await self._ask(exchange, self._bodies.made(exchange, priority), slot)

    async def _parse(self, exchange: Exchange) -> None:
        settings = self._settings
        body = await read_body(exchange.headers, exchange.receive, settings.http.body_limit_bytes)
        sent = json_object(body)
        field_types.check(exchange.scope["path"], sent)
        media.check(sent, settings.media_hosts)
        grammar_limits.check(sent, settings.limits.grammars)
        asked = exchange.request = inquiry.read(
            exchange.scope["path"],
            sent,
            conversation_id=inquiry.conversation_id(exchange.headers),
            base=settings.served_name,
            lobs=settings.lobs,
            sampling_fields=self._sampling_fields,
        )
        exchange.lob = asked.lob or self._adapters.table.lob_of(asked.model)
        exchange.plan = plan.of(asked, settings.lobs, self._admission.places)
        # Only for tools does it matter here who answers.
        outside = bool(sent.get("tools")) and (
            self._adapters.upstream(self._target(exchange).version) is not None
        )
        tool_choice.check(sent, settings, exchange.lob, outside=outside)
        if asked.audience == "customer" and exchange.lob is None:
            raise InvalidRequest(
                "Only a line of business answers customers: the base has no guards.",
                param="audience",
            )
        limits = settings.lobs[exchange.lob].limits if exchange.lob else settings.limits.base
        exchange.deadline = Deadline(limits.timeout_s, exchange.clock)

    async def _admit(self, exchange: Exchange, slot: AdmissionSlot) -> int:
        """Wait for places; the priority by which the engine schedules the request."""
        if exchange.batch:
            slot.take_spare(exchange.lob or "", self._sequences(exchange))
            return BATCH
        asked, trusted = exchange.request, exchange.key.allows(Role.TRAINER)
        priority = self._priorities.of(asked.task, asked.sent.get("priority"), trusted=trusted)
        level = self._priorities.level(priority)
        lob, adapter = exchange.lob or "", self._target(exchange).adapter
        if adapter is not None and self._adapters.upstream(adapter):
            adapter = None  # it takes no slot of the engine's
        await slot.enter(lob, level, self._sequences(exchange), exchange.deadline, adapter)
        return priority

    def _sequences(self, exchange: Exchange) -> int:
        """The places that a request takes; refused if it takes more than there are."""
        made, places = exchange.plan, self._admission.places
        sampled = None if made is None else made.sampled
        return inquiry.sequences(exchange.request, self._settings.lobs, places, sampled)

    def _route(self, exchange: Exchange) -> None:
        """Choose the version, which must be of the line that was authorized, or the base."""
        ruled = exchange.ruled
        if ruled is not None and ruled.text is not None:
            exchange.target = Target(ruled.rule.artifact, exchange.lob, pinned=False)
            return
        target = self._target(exchange)
        answers = target.version.partition("@")[0] if "@" in target.version else None
        if {target.lob, answers} - {None, exchange.lob}:
            raise PermissionDenied(f"{target.version} is not of {exchange.lob}.", param="model")
        exchange.target = target

    def _target(self, exchange: Exchange) -> Target:
        """What the table leads to now; after a wait it may be another."""
        model = ruling.model(exchange, self._settings.served_name)
        return self._adapters.table.resolve(model, exchange.request.conversation_id or "")

    async def _ask(self, exchange: Exchange, made: Made, slot: AdmissionSlot) -> None:
        """Have the version answer, or the line's fallback chain where it has one."""
        asked, version, body = exchange.request, exchange.target.version, made.body
        stream = body.get("stream") is True
        hide_usage = stream and ask_for_usage(asked.engine_path, body)
        its = self._settings.lobs.get(exchange.lob or "")
        reviews = its.reviews if its is not None else None
        unsure = reviews.low_confidence if reviews is not None else None
        showing = holdback.decide(asked, exchange.lob, its)
        base, replica = self._settings.served_name, self._replica
        capture = capturing.begin(exchange, made, showing, base=base, replica=replica)
        request = EngineRequest(
            asked.engine_path,
            body,
            capture,
            exchange.scope,
            allowed_fields.headers(exchange.headers),
            exchange.id,
            self._template,
            untrusted.of(asked).last if reviews is not None else "",
            sent=asked.sent if asked.of_task is not None else None,
            trace=exchange.trace,
            extra=telling.asking(exchange.plan, asked.engine_path, body, measured=bool(unsure))
            | guessing.asking(asked.of_task, body),
            review_below=unsure.below if unsure else None,
            render=made.render,
        )
        answer = ResponseWriter(
            exchange.send, capture, self._journal, hide_usage=hide_usage, waited_s=slot.waited_s
        )
        running = asyncio.current_task()
        assert running is not None  # noqa: S101 - a coroutine runs in a task
        self.running.add(running)
        self._adapters.acquire(version)
        metrics.INFLIGHT.inc()
        try:
            await self._write(exchange, request, answer)
            line = self._settings.lobs.get(exchange.lob or "")  # it may be gone by now
            if line is not None and answer.complete:
                self._shadows.offer(line.shadow, request, line.limits.timeout_s)
        finally:
            answer.close()
            if exchange.trace is not None:
                capturing.tell(exchange.trace, capture)
            self.running.discard(running)
            metrics.INFLIGHT.dec()
            self._adapters.release(version)

    async def _write(
        self, exchange: Exchange, request: EngineRequest, answer: ResponseWriter
    ) -> None:
        body = request.engine_body()
        scope = request.asgi_scope(body)
        app: App = self._engine_app
        sent: bytes | None = body
        if (ruled := exchange.ruled) is not None and ruled.text is not None:
            app, sent = ruling.app(ruled, request), None
        elif steps := self._chains.steps(exchange.target, request.path, request.body):
            app, sent = self._chains.app(steps, request), None
        if ruled is None or ruled.text is None:
            app = telling.told(app, request, exchange.plan)
        app = self._guarding.guarded(app, request, exchange.request, exchange.deadline)
        app = structured.told(app, request, exchange.request.of_task)
        await cancellation.run(app, scope, sent, exchange.receive, answer, exchange.deadline)
