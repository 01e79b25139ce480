"""The guards in a request's way: what is asked of it, what of its answer, and what follows.

Two entries: `Guarding.check_request` before a request is admitted, and `Guarding.guarded`, an ASGI
application around the one that answers. Of an answer that a guard may refuse nothing goes out
unchecked: a stream is held sentence by sentence, any other until all of it is there. What cannot be
checked does not pass a guard that blocks.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from dataclasses import dataclass, replace
from typing import Any

from serving import endpoints
from serving.admission.deadline import Deadline
from serving.asgi import App, Receive, Scope, Send
from serving.capture.reviewing import Reviewing
from serving.config.lobs import Lob
from serving.config.settings import Settings
from serving.errors import ContentFiltered, GuardUnavailable, HeldForReview
from serving.fallback.engine_request import EngineRequest
from serving.fallback.upstream import Upstream
from serving.gateway import cancellation
from serving.gateway.exchange import Exchange
from serving.gateway.guarding import classifier, context, filtered, review, untrusted
from serving.gateway.guarding.asking import Asking, count, moved
from serving.gateway.guarding.by_sentence import BySentence
from serving.gateway.guarding.confidence import Measured
from serving.gateway.guarding.configured import Check, for_customers, of_answers, of_requests
from serving.gateway.guarding.growing import Piece
from serving.gateway.guarding.held import Held
from serving.gateway.request import InferenceRequest
from serving.gateway.tasks import TaskRequest
from serving.guards.canonical import canonical
from serving.guards.decision import Decision, decide, holds
from serving.guards.verdict import Action, Finding, GuardContext, Verdict
from serving.observability.alarm import Alarm
from serving.untrusted_text import SpecialTokens


@dataclass(slots=True)
class Answer:
    """An answer that is to be checked.

    Args:
        checks: The guards.
        request: What it answers.
        task: What was asked, where it was a task.
        line: The line of business.
        deadline: When it must be complete.
    """

    checks: Sequence[Check]
    request: EngineRequest
    task: TaskRequest | None
    line: Lob | None
    deadline: Deadline
    _known: tuple[Any, GuardContext] | None = None

    @property
    def context(self) -> GuardContext:
        """What it may rest on, with the prompt by which the version that answers was asked."""
        said = self.request.body.get("messages")
        if self._known is None or self._known[0] is not said:
            self._known = said, context.of_answer(self.request, self.task, self.line)
        return self._known[1]


class Guarding:
    """The guards of all lines.

    Args:
        settings: The configuration.
        special_tokens: The base's.
        upstream: Finds an upstream by its name, for classifiers.
        reviewing: The review queue; None refuses what it would hold.
    """

    def __init__(
        self,
        settings: Settings,
        special_tokens: SpecialTokens,
        upstream: Callable[[str], Upstream],
        reviewing: Reviewing | None = None,
    ) -> None:
        self._reviewing = reviewing
        self._special_tokens = special_tokens
        self._upstream = upstream
        self._asking = Asking(upstream)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Ask other guards from the next request on."""
        self._lobs = settings.lobs
        self._lines = {name: lob.guards for name, lob in settings.lobs.items()}
        self._requests = {name: of_requests(its.input) for name, its in self._lines.items()}
        self._answers = {
            name: of_answers(lob.guards.output, lob) for name, lob in settings.lobs.items()
        }
        # A guard that is gone would never say that it is well.
        for alarm in self._asking.alarms.values():
            alarm.off()

    @property
    def alarms(self) -> ValuesView[Alarm]:
        """One for each guard that failed where it must decide; a view, as more may come."""
        return self._asking.alarms.values()

    async def check_request(self, exchange: Exchange) -> list[Verdict]:
        """Check what is untrusted in a request.

        Returns:
            What was found, where it passes all the same.

        Raises:
            ContentFiltered: A guard refuses it.
            GuardUnavailable: A guard that may refuse it failed.
        """
        lob = exchange.lob or ""
        model = self._lines[lob].input.classifier if lob in self._lines else None
        asks_model = model is not None and model.action is not Action.OFF
        checks = self._requests.get(lob, ())
        if not checks and not asks_model:
            return []
        of = untrusted.of(exchange.request)
        if not of.readable and (
            any(holds(check.action) for check in checks) or (model and holds(model.action))
        ):
            raise ContentFiltered(f"{lob} takes no token ids: send text.", param=of.field)
        text = canonical(of.text, self._special_tokens)
        last = canonical(of.last, self._special_tokens)
        known = GuardContext(lob=lob, task=exchange.request.task)
        verdicts: list[Verdict] = []
        for check in checks:
            verdicts += await self._asking.ask(check, last if check.last else text, known)
        if asks_model and model is not None and text and decide(verdicts) is Decision.PASS:
            left, name = exchange.deadline.left(), "input.classifier"
            try:
                upstream = self._upstream(model.upstream)
                async with asyncio.timeout(min(upstream.timeout_s, left or upstream.timeout_s)):
                    score = await classifier.unsafe(upstream, text, exchange.response_id)
            except Exception as exc:  # whatever it is, nothing is known of the text
                self._asking.failed(lob, name, model.action, exc)
            else:
                self._asking.well(lob, name)
                if score >= model.threshold:
                    reason = f"{model.upstream} holds it for unsafe."
                    found = Finding(model.kind, round(score, 4), (0, len(text)), reason)
                    verdicts.append(Verdict(name, model.action, found))
        count(lob, exchange.response_id, exchange.key.id, verdicts)
        if decide(verdicts) is not Decision.HOLD or self._queue(lob) is None:
            _refuse(decide(verdicts), verdicts, of.field)
        return verdicts

    def guarded(
        self, app: App, request: EngineRequest, asked: InferenceRequest, deadline: Deadline
    ) -> App:
        """Return what answers as `app` does, with its answers checked; `app` where nothing is.

        Args:
            app: What answers.
            request: As the engine gets it.
            asked: As it came.
            deadline: When the answer must be complete.
        """
        capture = request.capture
        lob = capture.lob or ""
        queue = self._queue(lob)
        checks, held = list(self._answers.get(lob, ())), review.is_held(capture)
        if capture.task == "insight":  # numbers of turns are no claims, and entities are literal
            checks = [check for check in checks if check.name != "output.claims"]
        below = request.review_below if queue is not None else None
        if not checks and not held and below is None:
            return app
        line, task_asked = self._lobs.get(lob), asked.of_task
        if held:
            if queue is None:  # it is gone since the request was checked
                raise HeldForReview("A guard asks for a person's review.")
            known = context.of_answer(request, task_asked, line)
            return review.unanswered(queue, request, known)
        if asked.audience == "customer":
            checks = [for_customers(check) for check in checks]
        its = Answer(checks, request, task_asked, line, deadline)
        unsure = below is not None  # what the model was not sure of may be a person's
        may_refuse = unsure or any(holds(check.action) for check in checks)
        reviewed = unsure or (
            queue is not None and any(check.may(Action.REVIEW) for check in checks)
        )
        if (
            may_refuse
            and not reviewed  # a person sees all of it
            and capture.stream
            and asked.audience != "customer"
            and request.path != endpoints.RESPONSES
        ):
            return self._by_sentence(app, its)
        hold = may_refuse or not capture.stream

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def check(answered: Mapping[str, Any]) -> dict[int, list[Verdict]]:
                found = await self.check_answer(its, answered)
                return found if below is None else measured.judged(found, answered, below, capture)

            task = None if queue is None else review.task(queue, request, lambda: its.context)
            held = Held(check, capture, send, hold=hold, review=task)
            measured = Measured(held.send, stream=capture.stream, strip="logprobs" in request.extra)
            await app(scope, receive, held.send if below is None else measured.send)
            await held.finish()

        return answer

    def _queue(self, lob: str | None) -> Reviewing | None:
        """The review queue, where the line has one."""
        its = self._reviewing
        return its if its is not None and its.line(lob) is not None else None

    def _by_sentence(self, app: App, its: Answer) -> App:
        async def check(piece: Piece) -> list[Verdict]:
            return await self._check_piece(its, piece)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            stream = BySentence(check, its.request.capture, send)
            await cancellation.until(stream.over, app, scope, receive, stream.send)
            await stream.finish()

        return answer

    async def _check_piece(self, its: Answer, piece: Piece) -> list[Verdict]:
        """Check new sentences of an answer; spans are offsets in all of it.

        Raises:
            GuardUnavailable: A guard that may refuse them failed.
        """
        capture = its.request.capture
        found: list[Verdict] = []
        for check in its.checks:
            new = await self._asking.ask(
                check,
                piece.text,
                its.context,
                since=piece.since,
                id_=capture.id,
                deadline=its.deadline,
            )
            found += [replace(one, finding=moved(one.finding, piece.offset)) for one in new]
        count(capture.lob or "", capture.id, capture.key_id or "", found)
        return found

    async def check_answer(
        self, its: Answer, answered: Mapping[str, Any]
    ) -> dict[int, list[Verdict]]:
        """Check an answer in one piece; return what was found in each choice.

        Raises:
            GuardUnavailable: A guard that may refuse it failed, or it is no answer that is known.
        """
        if its.request.capture.abstained:  # there is nothing to check
            return {}
        said = filtered.written(answered)
        if not said and any(holds(check.action) for check in its.checks):
            raise GuardUnavailable("The answer cannot be checked.")
        return {
            index: await self._check_piece(its, Piece(canonical(text), 0, 0, len(text)))
            for index, text in said.items()
        }


def _refuse(decision: Decision, verdicts: Iterable[Verdict], field: str) -> None:
    kinds = ", ".join(sorted({v.finding.kind for v in verdicts if holds(v.action)}))
    if decision is Decision.REFUSE:
        raise ContentFiltered(f"A guard of this line refused the request: {kinds}.", param=field)
    if decision is Decision.HOLD:
        raise HeldForReview(f"A guard asks for a person's review: {kinds}.", param=field)
