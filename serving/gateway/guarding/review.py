"""An answer on which a person decides: the task, and what the client gets meanwhile.

The client gets a complete answer of OpenAI's form with the line's fallback text, `finish_reason`
`stop`, one more field, `review`, and the header `x-switchboard-review`: clients ignore fields that
they do not know, while a finish reason that is none of OpenAI's breaks some. What is stored as the
interaction is the model's own answer, marked, so that the fallback text never teaches.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from serving import endpoints
from serving.asgi import App, Message, Receive, Scope, Send
from serving.capture.interaction import DONE, Capture
from serving.capture.reviewing import Reviewing
from serving.fallback.engine_request import EngineRequest
from serving.gateway.guarding import filtered
from serving.gateway.guarding.held import Found
from serving.gateway.guarding.held import Review as MakeTask
from serving.guards.decision import Decision, decide
from serving.guards.verdict import Action, GuardContext
from serving.store.records import Json
from serving.store.reviews.records import Review, mark

HEADER = b"x-switchboard-review"


def is_held(capture: Capture) -> bool:
    """Whether a guard of requests held it, so that the model is not asked."""
    return any(one["action"] == Action.REVIEW for one in capture.guards)


def task(queue: Reviewing, request: EngineRequest, context: Callable[[], GuardContext]) -> MakeTask:
    """Return what makes tasks of a request's answers.

    Args:
        queue: The line's.
        request: The request.
        context: Says what its guards know, once it is answered.
    """

    async def make(answer: dict[str, Any], found: Found, body: bytes) -> Iterable[Message]:
        written = filtered.written(answer)
        # Of several choices a person decides on the first that is held; none goes out.
        index = min(i for i, of in found.items() if decide(of) is not Decision.PASS)
        said = {"response": answer, "text": written[index], "index": index}
        made = await _hold(queue, request, context(), said)
        request.capture.instead = body
        fallback = queue.context(made)["fallback"]
        return _messages(answer, request.capture, fallback, made)

    return make


def unanswered(queue: Reviewing, request: EngineRequest, context: GuardContext) -> App:
    """Return what answers in the model's place where a guard of requests held the request."""

    async def answer(_: Scope, __: Receive, send: Send) -> None:
        made = await _hold(queue, request, context, {"response": None, "text": None, "index": 0})
        request.capture.instead = b""
        fallback = queue.context(made)["fallback"]
        for message in _messages(_skeleton(request), request.capture, fallback, made):
            await send(message)

    return answer


async def _hold(
    queue: Reviewing, request: EngineRequest, context: GuardContext, answer: Json
) -> Review:
    capture = request.capture
    verdicts = list(capture.guards)
    seen: Json = {
        "request": request.body if request.sent is None else request.sent,
        "prompt": context.prompt,
        "conversation": [{"role": role, "text": text} for role, text in context.conversation],
        "knowledge": list(context.knowledge),
        "verdicts": verdicts,
        **answer,
    }
    made = await queue.hold(
        lob=capture.lob or "",
        task=capture.task,
        version=capture.version,
        interaction_id=capture.id,
        key_id=capture.key_id or "",
        kinds=sorted({one["kind"] for one in verdicts}),
        context=seen,
    )
    capture.guards.append(mark(made.id))
    return made


def told(review: Review) -> Json:
    """Return what a client is told of a task."""
    return {"id": review.id, "status": review.status, "deadline": review.final_deadline}


def standing_in(answer: Mapping[str, Any], text: str, review: Json) -> dict[str, Any]:
    """Return an answer of the same form that says `text`.

    Args:
        answer: A chat completion, a completion or a response.
        text: What it says, in its only choice.
        review: Stands in its field `review`.
    """
    if isinstance(answer.get("output"), list):
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {
            "type": "message",
            "id": f"msg_{answer.get('id', '')}",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        kept = {key: value for key, value in answer.items() if key != "output_text"}
        return {**kept, "status": "completed", "output": [message], "review": review}
    first: Mapping[str, Any] = next(iter(answer.get("choices") or ()), {})
    choice: dict[str, Any] = {"index": 0}
    if "text" in first:
        choice["text"] = text
    else:
        choice["message"] = {"role": "assistant", "content": text}
    choice |= {"logprobs": None, "finish_reason": "stop"}
    kept = {key: value for key, value in answer.items() if key in filtered.OF_ANSWER}
    return {**kept, "choices": [choice], "review": review}


def _skeleton(request: EngineRequest) -> dict[str, Any]:
    """The empty answer to a request that no model has seen."""
    capture, now = request.capture, int(time.time())
    common: dict[str, Any] = {"id": capture.id, "model": capture.version}
    if request.path == endpoints.RESPONSES:
        common |= {"object": "response", "created_at": now, "error": None, "tools": []}
        return common | {"output": [], "tool_choice": "auto", "parallel_tool_calls": True}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    chat = request.path != endpoints.COMPLETIONS
    common |= {"object": "chat.completion" if chat else "text_completion", "created": now}
    return common | {"choices": [{} if chat else {"text": ""}], "usage": usage}


def _messages(
    answer: Mapping[str, Any], capture: Capture, text: str, review: Review
) -> Iterator[Message]:
    whole = standing_in(answer, text, told(review))
    kind, bodies = b"text/event-stream; charset=utf-8", [orjson.dumps(whole)]
    headers = [(HEADER, review.id.encode())]
    if capture.stream:
        bodies = list(_of_response(whole) if "output" in whole else _of_choices(whole))
    else:
        kind = b"application/json"
        headers.append((b"content-length", b"%d" % len(bodies[0])))
    headers.append((b"content-type", kind))
    yield {"type": "http.response.start", "status": 200, "headers": headers}
    for body in bodies:
        yield {"type": "http.response.body", "body": body, "more_body": True}
    yield {"type": "http.response.body", "body": b""}


def _of_choices(whole: dict[str, Any]) -> Iterator[bytes]:
    """The events of a stream of one choice: what it says, why it ends, its token counts."""
    usage = whole.pop("usage", None)
    choice = whole["choices"][0]
    first, last = {**choice, "finish_reason": None}, {**choice}
    if "message" in choice:
        whole["object"] = "chat.completion.chunk"
        first["delta"], last["delta"] = first.pop("message"), {}
        del last["message"]
    else:
        last["text"] = ""
    for one in (first, last):
        yield b"data: " + orjson.dumps({**whole, "choices": [one]}) + b"\n\n"
    if usage is not None:  # in the engine's order, by which response.py knows it
        rest = {key: value for key, value in whole.items() if key not in {"choices", "review"}}
        yield b"data: " + orjson.dumps({**rest, "choices": [], "usage": usage}) + b"\n\n"
    yield DONE


def _of_response(whole: Mapping[str, Any]) -> Iterator[bytes]:
    """The events of a streamed response of one message (API reference, streaming events)."""
    (item,) = whole["output"]
    (part,) = item["content"]
    empty, begun = {**part, "text": ""}, {**item, "content": [], "status": "in_progress"}
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    started = {**whole, "status": "in_progress", "output": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **at, "part": empty},
        {"type": "response.output_text.delta", **at, "delta": part["text"], "logprobs": []},
        {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    for number, event in enumerate(events):
        kind = event["type"].encode()
        body = orjson.dumps({**event, "sequence_number": number})
        yield b"event: " + kind + b"\ndata: " + body + b"\n\n"
