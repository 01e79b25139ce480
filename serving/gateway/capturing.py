"""What is kept of an exchange from its start: who asked what of which version, by which prompt.

And what its trace says of that in the end.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from serving.capture.interaction import Capture, answer_of
from serving.errors import SwitchboardError
from serving.gateway.exchange import Exchange
from serving.gateway.grounding import telling
from serving.gateway.holdback import Showing
from serving.gateway.rendering.bodies import Made
from serving.observability import tracing, usage
from serving.observability.tracing import RequestTrace, Tracing


def begin(
    exchange: Exchange,
    made: Made,
    showing: Showing,
    *,
    base: str,
    replica: str,
) -> Capture:
    """Return the record of an exchange that is routed.

    Args:
        exchange: What is known of it.
        made: What the engine gets; a rule answers without a prompt.
        showing: Whether the client is to show the answer.
        base: The base's served name.
        replica: This replica's name.
    """
    asked, body, ruled = exchange.request, made.body, exchange.ruled
    prompt = made.prompt if ruled is None or ruled.text is None else None
    return Capture(
        id=exchange.response_id,
        endpoint=asked.endpoint,
        task=asked.task,
        lob=exchange.lob,
        model_requested=asked.model,
        version=exchange.target.version,
        base_model=base,
        key_id=exchange.key.id or None,
        replica=replica,
        request=orjson.dumps(body),
        stream=body.get("stream") is True,
        conversation_id=asked.conversation_id,
        turn_position=asked.turn,
        prompt_name=prompt.name if prompt else None,
        prompt_hash=prompt.hash if prompt else None,
        audience=asked.audience,
        asked=asked.of_task.asked() if asked.of_task is not None else {},
        show=showing.show,
        holdback=showing.share,
        clock=exchange.clock,
        guards=[verdict.as_json() for verdict in exchange.verdicts],
        beside=telling.to_show(exchange.beside, showing.show),
        traceparent=None if exchange.trace is None else exchange.trace.traceparent,
    )


def tell(trace: RequestTrace, capture: Capture) -> None:
    """Set what is known of an exchange at its end on the request's span; texts where asked for."""
    asked, said = usage.tokens(capture.chunks)
    values: dict[str, Any] = {
        "gen_ai.request.model": capture.model_requested,
        "gen_ai.response.model": capture.version,
        "gen_ai.response.id": capture.id,
        "gen_ai.conversation.id": capture.conversation_id,
        "gen_ai.usage.input_tokens": asked,
        "gen_ai.usage.output_tokens": said,
        "switchboard.lob": capture.lob,
        "switchboard.task": capture.task,
    }
    if trace.texts:
        sent = orjson.loads(capture.request)
        messages = sent.get("messages", sent.get("input", sent.get("prompt")))
        answer = answer_of(b"".join(capture.chunks).decode(errors="replace"), stream=capture.stream)
        values["gen_ai.input.messages"] = orjson.dumps(messages).decode()
        given = answer.get("choices", answer.get("output"))
        values["gen_ai.output.messages"] = orjson.dumps(given).decode()
    tracing.attributes(trace.span, values)


async def answered(
    exchange: Exchange, tracing: Tracing | None, answer: Callable[[Exchange], Awaitable[None]]
) -> None:
    """Have an exchange answered, in a span of its own where requests are traced."""
    if tracing is None:
        await answer(exchange)
        return
    scope, send = exchange.scope, exchange.send
    with tracing.request(scope["method"], scope["path"], exchange.headers) as trace:
        exchange.trace, exchange.send = trace, trace.watched(send)
        try:
            await answer(exchange)
        except SwitchboardError as exc:
            trace.answered(exc.status)
            raise
