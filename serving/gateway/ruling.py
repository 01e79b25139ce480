"""Rules in a request's way: whether one answers it, or says who does, before a model is asked."""

import logging

import httpx

from serving.asgi import App, Receive, Scope, Send
from serving.config.settings import Settings
from serving.errors import SwitchboardError
from serving.fallback.engine_request import EngineRequest
from serving.gateway.exchange import Exchange
from serving.gateway.guarding import untrusted
from serving.observability import metrics
from serving.rules import completion, matching, webhook
from serving.rules.decision import Ruled
from serving.rules.matching import Match

logger = logging.getLogger(__name__)

_MODEL_ONLY = frozenset(
    {
        *("functions", "function_call", "logprobs", "response_format", "structured_outputs"),
        *("tools", "top_logprobs"),
    }
)
"""Fields that ask for what no rule gives."""


def app(ruled: Ruled, request: EngineRequest) -> App:
    """Return what answers with a rule's text."""
    capture, text = request.capture, ruled.text or ""
    options = request.body.get("stream_options")
    usage = isinstance(options, dict) and bool(options.get("include_usage"))

    async def answer(_: Scope, __: Receive, send: Send) -> None:
        model = ruled.rule.artifact
        await completion.send(send, capture.id, model, text, stream=capture.stream, usage=usage)

    return answer


def model(exchange: Exchange, base: str) -> str:
    """Return what routing resolves: where a rule leads, else what the request names.

    Args:
        exchange: A request, with what a rule decided.
        base: The base's served name.
    """
    ruled = exchange.ruled
    name = (ruled.rule.route if ruled else None) or exchange.request.model
    return base if name == "base" else name


class Rules:
    """The rules of all lines.

    Args:
        settings: The configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = httpx.AsyncClient(follow_redirects=False)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Answer by other rules from the next request on."""
        self._lines = {name: lob.rules for name, lob in settings.lobs.items() if lob.rules}

    async def decide(self, exchange: Exchange) -> Ruled | None:
        """Return what a rule says to a request; None leaves it to the model.

        A version that the client chose, and what only a model gives (several answers, tools, a
        form, the rest of a draft), is not for rules. A rule that fails leaves the request to the
        model, too.
        """
        asked, lob = exchange.request, exchange.lob or ""
        rules = self._lines.get(lob)
        if not rules or asked.model != lob or asked.sent.get("n", 1) not in (1, None):
            return None
        if any(asked.sent.get(name) for name in _MODEL_ONLY):
            return None
        try:
            match = matching.first(rules, asked.task, untrusted.of(asked).last)
            if match is None:
                return None
            if match.rule.answer is not None and asked.sent.get("draft"):
                return None
            ruled = await self._ruled(exchange, match)
        except (SwitchboardError, TimeoutError) as exc:
            metrics.RULES.labels(lob, "", "failed").inc()
            logger.warning("A rule of %s failed, so that the model answers: %s", lob, exc)
            return None
        outcome = "routed" if ruled.text is None else "answered"
        metrics.RULES.labels(lob, match.rule.artifact, outcome).inc()
        return ruled

    async def _ruled(self, exchange: Exchange, match: Match) -> Ruled:
        rule, slots = match.rule, dict(match.slots)
        if rule.answer is None:
            return Ruled(rule)
        if rule.webhook is not None:
            question = {
                "lob": exchange.lob,
                "rule": rule.artifact,
                "slots": slots,
                "conversation_id": exchange.request.conversation_id,
            }
            key = f"lobs.{exchange.lob}.rules.{rule.name}.webhook.api_key"
            slots |= await webhook.ask(self._client, rule.webhook, key, question)
        text = matching.fill(rule.answer, slots)
        if text is None:
            raise webhook.WebhookFailed(f"{rule.artifact}: a slot of the answer is missing")
        return Ruled(rule, text)
