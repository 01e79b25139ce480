"""One exchange: a request to an inference endpoint and the answer that it gets."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.admission.deadline import Deadline
from serving.asgi import Headers, Receive, Scope, Send
from serving.auth import ApiKey
from serving.gateway.request import InferenceRequest
from serving.gateway.suggesting.plan import Plan
from serving.guards.verdict import Verdict
from serving.observability.tracing import RequestTrace
from serving.routing import Target
from serving.rules.decision import Ruled


def _request_id() -> str:
    """A new id; ids sort by their time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(slots=True)
class Exchange:
    """What is known of an exchange; each stage of `Inference` adds to it.

    Args:
        scope: The client's ASGI scope.
        headers: The client's headers.
        receive: The client's side.
        send: The client's side.
        key: Who asks.
        clock: When it began, as `time.perf_counter` tells it.
        id: The request's id, without the endpoint's prefix.
        request: The request, once it is parsed.
        lob: The line of business that it is for; None is the base model.
        deadline: When the answer must be complete.
        target: The version that answers, once it is routed.
        verdicts: What guards found in the request.
        ruled: What a rule of the line decided, where one did.
        batch: Whether it is a batch's line, which takes only what no request wants.
        beside: Fields that the answer gets beside the engine's, such as `passages`.
        plan: How a suggestion's candidates are made and chosen, where that needs more than asking.
        trace: Its spans, where it is traced.
    """

    scope: Scope
    headers: Headers
    receive: Receive
    send: Send
    key: ApiKey
    clock: float = field(default_factory=time.perf_counter)
    id: str = field(default_factory=_request_id)
    request: InferenceRequest = field(init=False)
    lob: str | None = field(init=False)
    deadline: Deadline = field(init=False)
    target: Target = field(init=False)
    verdicts: Sequence[Verdict] = ()
    ruled: Ruled | None = None
    batch: bool = False
    beside: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    trace: RequestTrace | None = None

    @property
    def response_id(self) -> str:
        """The response's own id, and the interaction's."""
        return f"{self.request.id_prefix}{self.id}"
