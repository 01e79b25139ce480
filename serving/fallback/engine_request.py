"""A request as vLLM gets it, whichever version or step of a fallback chain is asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from serving.asgi import Headers, Scope
from serving.capture.interaction import Capture
from serving.chat_template import ChatTemplate
from serving.config.prompts import Prompt
from serving.observability.tracing import IN_SCOPE, RequestTrace


class Rendered(NamedTuple):
    """A task's chat messages, `[{"role", "content"}, …]`, and the prompt that made them."""

    messages: list[dict[str, str]]
    prompt: Prompt


@dataclass(slots=True)
class EngineRequest:
    """A request to the engine.

    Args:
        path: vLLM's endpoint.
        body: Its JSON object; `model` is set to each version asked.
        capture: What is recorded of the answer; `capture.request` is the body as last sent.
        scope: The client's ASGI scope.
        headers: The client's headers that vLLM may see.
        request_id: Becomes the response's id, behind its prefix.
        template: The base's, in whose form the engine gets the chat.
        last: What the customer wrote last.
        sent: What the client sent, where that is not `body`.
        trace: The request's spans, where it is traced.
        extra: Fields that our engine gets beside, and nobody else sees.
        review_below: A person decides on answers of a smaller confidence.
        render: Of a task, renders it for a loaded version, the base, or None: an upstream.
    """

    path: str
    body: dict[str, Any]
    capture: Capture
    scope: Scope
    headers: Headers
    request_id: str
    template: ChatTemplate = field(default_factory=ChatTemplate)
    last: str = ""
    sent: dict[str, Any] | None = None
    trace: RequestTrace | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    review_below: float | None = None
    render: Callable[[str | None], Rendered] | None = None

    def ask(self, version: str | None) -> None:
        """Make the body that of a version, by its own prompt where it has one; note which that is.

        Args:
            version: A loaded version or the base; None is an upstream.

        Raises:
            InvalidRequest: Its prompt cannot tell what was asked.
        """
        if version is not None:
            self.body["model"] = version
        if self.render is not None:
            self.body["messages"], prompt = self.render(version)
            self.capture.prompt_name, self.capture.prompt_hash = prompt.name, prompt.hash
        self.capture.request = orjson.dumps(self.body)

    def engine_body(self) -> bytes:
        """The body as the engine gets it; what is captured stays as it was asked."""
        formed = self.template.body(self.body)
        if formed is self.body and not self.extra:
            return self.capture.request
        return orjson.dumps({**formed, **self.extra})

    def asgi_scope(self, body: bytes) -> Scope:
        """The scope that vLLM sees for a body: our request id, no credentials."""
        traced = {} if self.trace is None else {IN_SCOPE: (self.trace, self.body["model"])}
        return {
            **self.scope,
            **traced,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "headers": [
                *self.headers.items(),
                (b"content-type", b"application/json"),  # it was parsed; `curl -d` says otherwise
                (b"x-request-id", self.request_id.encode()),
                (b"content-length", str(len(body)).encode()),
            ],
        }
