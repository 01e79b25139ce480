"""The guards in a request's way: what is asked of it, what of its answer, and what follows.

Two entries: `Guarding.check_request` before a request is admitted, and `Guarding.guarded`, an ASGI
application around the one that answers. An answer that a guard may refuse is held until all of it
is there. What cannot be checked does not pass a guard that blocks.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from typing import Any

from serving.asgi import App, Receive, Scope, Send
from serving.capture.reviewing import Reviewing
from serving.config.guards import InputGuards, OutputGuards
from serving.config.lobs import Lob
from serving.config.settings import Settings
from serving.errors import ContentFiltered, GuardUnavailable, HeldForReview
from serving.fallback.engine_request import EngineRequest
from serving.fallback.upstream import Upstream
from serving.gateway.exchange import Exchange
from serving.gateway.guarding import classifier, filtered, review, untrusted
from serving.gateway.guarding.held import Held
from serving.guards import prompt_leak
from serving.guards.canonical import canonical
from serving.guards.content import content
from serving.guards.decision import Decision, decide, holds
from serving.guards.high_stakes import high_stakes
from serving.guards.injection import injection
from serving.guards.patterns import patterns
from serving.guards.verdict import Action, Finding, Guard, GuardContext, Verdict
from serving.observability import metrics
from serving.observability.alarm import Alarm
from serving.untrusted_text import SpecialTokens

WINDOW = 20_000
"""Characters that are checked before other requests have their turn."""
OVERLAP = 1_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """A guard, and what follows from what it finds; `last` reads only the customer's last words."""

    name: str
    action: Action
    guard: Guard
    last: bool = False


def of_requests(guards: InputGuards) -> list[Check]:
    """Return the guards that a line asks of its requests; its classifier aside."""
    off_topic = patterns("off_topic", tuple(guards.off_topic.patterns))
    return _on(
        Check("input.injection", guards.injection, injection),
        Check("input.prompt_leak", guards.prompt_leak, prompt_leak.asks),
        Check("input.off_topic", guards.off_topic.action, lambda t, _: off_topic(t), last=True),
    )


def of_answers(guards: OutputGuards, lob: Lob | None = None) -> list[Check]:
    """Return the guards that a line asks of its answers, the rules of its review queue last."""
    rules = lob.reviews.high_stakes if lob is not None and lob.reviews is not None else []
    return _on(
        Check("output.prompt_leak", guards.prompt_leak, prompt_leak.repeats),
        Check("output.content", guards.content.action, content(guards.content)),
        Check("reviews.high_stakes", Action.REVIEW if rules else Action.OFF, high_stakes(rules)),
    )


def _on(*checks: Check) -> list[Check]:
    return [check for check in checks if check.action is not Action.OFF]


class Guarding:
    """The guards of all lines.

    Args:
        settings: The configuration.
        special_tokens: The base's.
        upstream: Finds an upstream by its name, for classifiers.
        reviewing: The review queues; without them what is held for a person is refused.
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
        self._alarms: dict[tuple[str, str], Alarm] = {}
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Ask other guards from the next request on."""
        self._lines = {name: lob.guards for name, lob in settings.lobs.items()}
        self._requests = {name: of_requests(its.input) for name, its in self._lines.items()}
        self._answers = {
            name: of_answers(lob.guards.output, lob) for name, lob in settings.lobs.items()
        }
        for alarm in self._alarms.values():  # a guard that is gone would never say that it is well
            alarm.off()

    @property
    def alarms(self) -> ValuesView[Alarm]:
        """One for each guard that failed where it must decide; a view, as more may come."""
        return self._alarms.values()

    async def check_request(self, exchange: Exchange) -> list[Verdict]:
        """Check what is untrusted in a request.

        Returns:
            What was found, where it passes all the same, or a person must decide.

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
        context = GuardContext(lob=lob, task=exchange.request.task)
        verdicts: list[Verdict] = []
        for check in checks:
            verdicts += await self._asked(check, last if check.last else text, context)
        if asks_model and model is not None and text and decide(verdicts) is Decision.PASS:
            left, name = exchange.deadline.left(), "input.classifier"
            try:
                upstream = self._upstream(model.upstream)
                async with asyncio.timeout(min(upstream.timeout_s, left or upstream.timeout_s)):
                    score = await classifier.unsafe(upstream, text, exchange.response_id)
            except Exception as exc:  # whatever it is, nothing is known of the text
                self._failed(lob, name, model.action, exc)
            else:
                self._well(lob, name)
                if score >= model.threshold:
                    reason = f"{model.upstream} holds it for unsafe."
                    found = Finding(model.kind, round(score, 4), (0, len(text)), reason)
                    verdicts.append(Verdict(name, model.action, found))
        self._count(lob, exchange.response_id, exchange.key.id, verdicts)
        if decide(verdicts) is not Decision.HOLD or self._queue(lob) is None:
            _refuse(decide(verdicts), verdicts, of.field)
        return verdicts

    def guarded(self, app: App, request: EngineRequest) -> App:
        """Return what answers as `app` does, with its answers checked; `app` where nothing is."""
        queue = self._queue(request.capture.lob)
        if review.is_held(request.capture):
            if queue is None:  # it is gone since the request was checked
                raise HeldForReview("A guard asks for a person's review.")
            return review.unanswered(queue, request, _context(request))
        checks = self._answers.get(request.capture.lob or "")
        if not checks:
            return app
        hold = not request.capture.stream or any(holds(one.action) for one in checks)

        async def check(answered: Mapping[str, Any]) -> dict[int, list[Verdict]]:
            return await self.check_answer(checks, request, answered)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            task = None if queue is None else review.task(queue, request, _context(request))
            held = Held(check, request.capture, send, hold=hold, review=task)
            await app(scope, receive, held.send)
            await held.finish()

        return answer

    async def check_answer(
        self, checks: Sequence[Check], request: EngineRequest, answer: Mapping[str, Any]
    ) -> dict[int, list[Verdict]]:
        """Check an answer in one piece; return what was found in each choice.

        Raises:
            GuardUnavailable: A guard that may refuse it failed, or it is no answer that is known.
        """
        capture = request.capture
        lob = capture.lob or ""
        said = filtered.written(answer)
        if not said and any(holds(check.action) for check in checks):
            raise GuardUnavailable("The answer cannot be checked.")
        context = _context(request)
        found: dict[int, list[Verdict]] = {}
        for index, text in said.items():
            for check in checks:
                found.setdefault(index, []).extend(
                    await self._asked(check, canonical(text), context)
                )
            self._count(lob, capture.id, capture.key_id or "", found[index])
        return found

    def _queue(self, lob: str | None) -> Reviewing | None:
        """The review queue, where the line has one."""
        its = self._reviewing
        return its if its is not None and its.line(lob) is not None else None

    async def _asked(self, check: Check, text: str, context: GuardContext) -> list[Verdict]:
        """Ask one guard; of a long text the first window in which it finds something."""
        lob = context.lob or ""
        for start in range(0, max(1, len(text)), WINDOW):
            if start:
                await asyncio.sleep(0)
            begin = max(0, start - OVERLAP)
            try:
                found = check.guard(text[begin : start + WINDOW], context)
            except Exception as exc:  # a guard's own fault must not let a text pass
                self._failed(lob, check.name, check.action, exc)
                return []
            if found:
                return [Verdict(check.name, check.action, _moved(one, begin)) for one in found]
        self._well(lob, check.name)
        return []

    def _well(self, lob: str, name: str) -> None:
        if alarm := self._alarms.get((lob, name)):
            alarm.off()

    def _failed(self, lob: str, name: str, action: Action, error: Exception) -> None:
        metrics.GUARD_ERRORS.labels(name, lob).inc()
        reason = f"{type(error).__name__}: {error}"
        if not holds(action):
            logger.warning("%s of %s failed: %s", name, lob, reason)
            return
        what = f"{name} of {lob} fails, so that its requests are refused"
        self._alarms.setdefault((lob, name), Alarm(what)).on(reason)
        raise GuardUnavailable(f"A guard of {lob} does not answer.", reason=reason) from error

    def _count(self, lob: str, id_: str, key_id: str, verdicts: Iterable[Verdict]) -> None:
        for one in verdicts:
            metrics.GUARD_VERDICTS.labels(one.guard, one.finding.kind, one.action.value, lob).inc()
            if holds(one.action):
                kind, action = one.finding.kind, one.action.value
                logger.warning(
                    "%s: %s of %s: %s (%s), key %s", id_, one.guard, lob, kind, action, key_id
                )


def _moved(found: Finding, by: int) -> Finding:
    start, end = found.span
    return Finding(found.kind, found.score, (start + by, end + by), found.reason)


def _refuse(decision: Decision, verdicts: Iterable[Verdict], field: str) -> None:
    kinds = ", ".join(sorted({v.finding.kind for v in verdicts if holds(v.action)}))
    if decision is Decision.REFUSE:
        raise ContentFiltered(f"A guard of this line refused the request: {kinds}.", param=field)
    if decision is Decision.HOLD:
        raise HeldForReview(f"A guard asks for a person's review: {kinds}.", param=field)


def _context(request: EngineRequest) -> GuardContext:
    body, capture = request.body, request.capture
    given = body.get("messages", body.get("input"))
    said = list(untrusted.messages(given))
    system = [text for role, text in said if role in {"system", "developer"}]
    system += [text for text in [body.get("instructions")] if isinstance(text, str)]
    others = tuple((role, text) for role, text in said if role not in {"system", "developer"})
    if isinstance(given, str):
        others = (("user", given),)
    return GuardContext(
        capture.lob,
        capture.task,
        canonical("\n".join(system)),
        others,
        last=canonical(request.last),
    )
