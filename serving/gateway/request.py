"""What a request to an inference endpoint asks, read from its path, its body and one header.

Pure, and the same for vLLM's endpoints and for the task endpoints, which vLLM answers as chat
completions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving import endpoints
from serving.admission import priority
from serving.asgi import Headers
from serving.config.lobs import Lob
from serving.errors import InvalidRequest
from serving.gateway import tasks
from serving.gateway.tasks import TaskRequest
from serving.gateway.validation import allowed_fields

# vLLM's endpoints: the name of the task in the store, the prefix that vLLM gives a response's id.
_ENGINE = {
    endpoints.CHAT_COMPLETIONS: ("chat", "chatcmpl-"),
    endpoints.COMPLETIONS: ("completion", "cmpl-"),
    endpoints.RESPONSES: ("response", "resp_"),
}
PATHS = frozenset({*_ENGINE, *tasks.PATHS})
_WITH_AUDIENCE = PATHS - {endpoints.COMPLETIONS, endpoints.RESPONSES}


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A request, read as far as routing needs it.

    Args:
        endpoint: The path asked.
        engine_path: vLLM's endpoint that answers it.
        id_prefix: What the response's id begins with.
        task: The name of the task in the store.
        lob: The line of business, where the request names one; else the model tells.
        model: What routing resolves.
        conversation_id: The conversation it belongs to.
        turn: Its position: turns or messages so far.
        sent: The body.
        of_task: The checked body of a task endpoint's request.
        audience: Who reads the answer first, where the request says so: `agent` or `customer`.
    """

    endpoint: str
    engine_path: str
    id_prefix: str
    task: str
    lob: str | None
    model: str
    conversation_id: str | None
    turn: int | None
    sent: dict[str, Any]
    of_task: TaskRequest | None = None
    audience: str | None = None

    @property
    def drafted(self) -> bool:
        """Whether the answer goes on from what the client sends."""
        if self.of_task is not None:
            return bool(self.of_task.draft)
        return bool(self.sent.get("continue_final_message"))


def read(
    endpoint: str,
    sent: dict[str, Any],
    *,
    conversation_id: str | None,
    base: str,
    lobs: Mapping[str, Lob],
    sampling_fields: frozenset[str],
) -> InferenceRequest:
    """Read a request.

    Args:
        endpoint: One of `PATHS`.
        sent: The JSON object sent.
        conversation_id: The header `x-conversation-id`; a task's own field goes before it.
        base: The served name of the base model, which answers where no model is named.
        lobs: The configured lines of business.
        sampling_fields: Chat-completion fields that task requests may set.

    Raises:
        InvalidRequest: A field is wrong, unknown or not allowed; names it.
    """
    audience = None
    if endpoint in _WITH_AUDIENCE:
        sent, audience = allowed_fields.audience(sent)
    if endpoint in tasks.PATHS:
        asked = tasks.parse(sent, lobs, sampling_fields, base)
        return InferenceRequest(
            endpoint=endpoint,
            engine_path=endpoints.CHAT_COMPLETIONS,
            id_prefix=_ENGINE[endpoints.CHAT_COMPLETIONS][1],
            task=tasks.PATHS[endpoint],
            lob=asked.lob,
            model=asked.model,
            conversation_id=asked.conversation_id or conversation_id,
            turn=len(asked.turns),
            sent=sent,
            of_task=asked,
            audience=audience,
        )
    allowed_fields.check(endpoint, sent)
    task, prefix = _ENGINE[endpoint]
    model = sent.get("model") or base
    if not isinstance(model, str):
        raise InvalidRequest("`model` must be a string.", param="model")
    messages = sent.get("messages")
    return InferenceRequest(
        endpoint=endpoint,
        engine_path=endpoint,
        id_prefix=prefix,
        task=task,
        lob=None,
        model=model,
        conversation_id=conversation_id,
        turn=len(messages) if isinstance(messages, list) else None,
        sent=sent,
        audience=audience,
    )


def conversation_id(headers: Headers) -> str | None:
    """Return the conversation that a request's header names."""
    value = headers.get(b"x-conversation-id")
    return value.decode("latin-1")[:256] if value else None


def sequences(
    asked: InferenceRequest, lobs: Mapping[str, Lob], places: int, sampled: int | None
) -> int:
    """Return how many sequences the engine runs for a request.

    Args:
        asked: The request.
        lobs: The lines of business, whose defaults count.
        places: The most that a replica answers at once.
        sampled: Candidates that are made, where that is known to be another count.

    Raises:
        InvalidRequest: They are more than `places`.
    """
    sent = asked.sent
    if asked.of_task is not None:
        sent = {**tasks.defaults(tasks.PATHS[asked.endpoint], lobs[asked.of_task.lob]), **sent}
    wanted = priority.sequences(sent) if sampled is None else sampled
    if wanted > places:
        raise InvalidRequest(
            f"The request asks for {wanted} answers at once; at most {places} are given.",
            param="prompt" if isinstance(sent.get("prompt"), list) else "n",
        )
    return wanted
