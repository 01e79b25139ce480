"""A suggestion's candidates on their way out: all of them come before one is chosen.

So a stream comes in one piece, too, at the time of its last token. It stands before the guards,
which see what the client gets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from serving.asgi import App, Message, Receive, Scope, Send
from serving.capture.interaction import DONE, answer_of
from serving.fallback.engine_request import EngineRequest
from serving.gateway.guarding import confidence
from serving.gateway.suggesting.choosing import chosen
from serving.gateway.suggesting.distinct import by_words
from serving.gateway.suggesting.plan import Plan
from serving.observability import metrics

_LENGTH = b"content-length"


def told(app: App, request: EngineRequest, plan: Plan | None) -> App:
    """Return what answers as `app` does, with the candidates that a plan chooses.

    Args:
        app: What answers with chat completions.
        request: As the engine gets it; its capture notes that the answer abstains.
        plan: How they are chosen; None changes nothing.
    """
    if plan is None:
        return app
    # Whoever decides by them on the way out needs the probabilities, too, and takes them out.
    strip = "logprobs" in request.extra and request.review_below is None

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        collected = _Collected(send)
        await app(scope, receive, collected.send)
        for message in collected.messages(request, plan, strip=strip):
            await send(message)

    return answer


def asking(
    plan: Plan | None, path: str, body: Mapping[str, Any], *, measured: bool
) -> dict[str, Any]:
    """Return the fields that our engine gets beside, to choose and to measure by.

    Args:
        plan: How candidates are chosen, where they are.
        path: vLLM's endpoint.
        body: The request.
        measured: Whether the answer's confidence is wanted in any case.
    """
    fields = {} if plan is None else plan.extra()
    return fields | confidence.asking(path, body) if measured or plan is not None else fields


class _Collected:
    """Keeps an answer; an error goes on at once."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._bodies: list[bytes] = []

    async def send(self, message: Message) -> None:
        """Take a message."""
        if message["type"] == "http.response.start" and message["status"] == 200:
            self._start = message
        elif self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._bodies.append(message.get("body", b""))

    def messages(self, request: EngineRequest, plan: Plan, *, strip: bool) -> Iterator[Message]:
        """Yield what the client gets."""
        if self._start is None:
            return
        stream, capture = request.capture.stream, request.capture
        text = b"".join(self._bodies).decode("utf-8", "replace")
        answer = answer_of(text, stream=stream)
        if stream and not answer.get("error"):
            _with_logprobs(answer, text)
        if not answer.get("choices"):  # no answer that is known, or a stream that broke off
            yield from self._as_it_came()
            return
        sure = {
            choice.get("index", place): value
            for place, choice in enumerate(answer["choices"])
            if (value := confidence.of_choice(choice)) is not None
        }
        made = chosen(answer, sure, plan, by_words(plan.similar))
        capture.abstained = made["abstained"]
        if capture.abstained:
            metrics.ABSTAINED.labels(capture.lob or "", made["abstention"]["reason"]).inc()
        if strip:
            made["choices"] = [{**choice, "logprobs": None} for choice in made["choices"]]
        bodies = list(events(made)) if stream else [orjson.dumps(made)]
        headers = [(n, v) for n, v in self._start.get("headers", ()) if n.lower() != _LENGTH]
        if not stream:
            headers.append((_LENGTH, b"%d" % len(bodies[0])))
        yield {**self._start, "headers": headers}
        for body in bodies:
            yield {"type": "http.response.body", "body": body, "more_body": True}
        yield {"type": "http.response.body", "body": b""}

    def _as_it_came(self) -> Iterator[Message]:
        if self._start is not None:
            yield self._start
        for body in self._bodies:
            yield {"type": "http.response.body", "body": body, "more_body": True}
        yield {"type": "http.response.body", "body": b""}


def events(answer: dict[str, Any]) -> Iterator[bytes]:
    """Yield an answer as a stream: its text in one event a choice, its end with what is told.

    Args:
        answer: A chat completion in one piece, as `choosing.chosen` gives it.
    """
    usage = answer.get("usage")
    kept = {k: v for k, v in answer.items() if k not in ("usage", "choices", "abstention")}
    head = {**kept, "object": "chat.completion.chunk"}
    for choice in answer["choices"]:
        index, probable = choice["index"], choice.get("logprobs")
        delta = {"index": index, "delta": choice["message"], "finish_reason": None}
        yield _event(head, [delta | ({"logprobs": probable} if probable else {})])
        rest = {k: v for k, v in choice.items() if k not in ("message", "logprobs")}
        yield _event(head, [{**rest, "delta": {}}])
    if not answer["choices"]:
        yield _event({**head, "abstention": answer["abstention"]}, [])
    if usage is not None:
        # In the engine's order, by which the writer knows the counts that only we asked for.
        yield b"data: " + orjson.dumps({**head, "choices": [], "usage": usage}) + b"\n\n"
    yield DONE


def _event(head: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
    return b"data: " + orjson.dumps({**head, "choices": choices}) + b"\n\n"


def _with_logprobs(answer: dict[str, Any], text: str) -> None:
    """Add to an answer's choices the probabilities that its stream gave event by event."""
    found: dict[int, list[Any]] = {}
    for line in text.split("\n"):
        if not line.startswith("data: {") or '"logprobs"' not in line:
            continue
        for choice in orjson.loads(line[6:]).get("choices") or ():
            content = (choice.get("logprobs") or {}).get("content")
            if isinstance(content, list):
                found.setdefault(choice.get("index", 0), []).extend(content)
    for choice in answer.get("choices") or ():
        if choice["index"] in found:
            choice["logprobs"] = {"content": found[choice["index"]]}
