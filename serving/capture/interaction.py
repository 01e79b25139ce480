"""What is kept of each interaction, and how a captured response becomes a record.

On the hot path only bytes are kept: `Capture` collects the body chunks of a response and frames
them for the journal, a few microseconds a request. Parsing the stream back into an answer happens
later, in `to_record`, when the journal is drained to the store. An upstream may answer in any
shape: what is no answer is left out, and never keeps the journal from being drained.
"""

import json
import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import orjson

from serving.store import candidates
from serving.store.candidates import plain
from serving.store.records import ABSTAINED, InteractionRecord

DONE = b"data: [DONE]\n\n"
MAX_TOOL_CALLS = 128
Status = Literal["completed", "aborted", "error"]


@dataclass(slots=True)
class Capture:
    """One interaction while it is answered.

    `instead` is what is kept as the response where the client got something else.
    `show` is what the client is told of showing it, `holdback` the share by which that was drawn.
    `audience` and `asked` are of the request as it was asked, and nothing that an engine gets.
    `beside` are fields that the client's answer gets beside the engine's, kept with the request.
    `abstained` is whether the client got no candidate, by the line's own choice.
    `traceparent` is the request's trace, where it is traced; it ends with the journal.
    Times are seconds of `time.time` (`created_at`) and of `time.perf_counter` (`clock`, `first`).
    """

    id: str
    endpoint: str
    task: str
    lob: str | None
    model_requested: str
    version: str
    base_model: str
    key_id: str | None
    replica: str
    request: bytes
    stream: bool
    conversation_id: str | None
    turn_position: int | None
    prompt_name: str | None = None
    prompt_hash: str | None = None
    audience: str | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    show: bool | None = None
    holdback: float | None = None
    created_at: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)
    first: float | None = None
    chunks: list[bytes] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    guards: list[dict[str, Any]] = field(default_factory=list)
    instead: bytes | None = None
    beside: dict[str, Any] = field(default_factory=dict)
    abstained: bool = False
    traceparent: str | None = None

    def payload(self, status: Status) -> bytes:
        """Frame the interaction for the journal: one JSON object, the response still raw."""
        now = time.perf_counter()
        kept = b"".join(self.chunks) if self.instead is None else self.instead
        return orjson.dumps(
            {name: getattr(self, name) for name in _KEPT}
            | {
                "request": self.request.decode("utf-8", "replace"),
                "response": kept.decode("utf-8", "replace"),
                "audience": self.audience,
                "shown_by_draw": None if self.holdback is None else self.show,
                "ttft_ms": None if self.first is None else (self.first - self.clock) * 1e3,
                "latency_ms": (now - self.clock) * 1e3,
                "status": status,
            }
            | ({"beside": self.beside} if self.beside else {})
            | ({"asked": self.asked} if self.asked else {})
            | ({} if self.traceparent is None else {"traceparent": self.traceparent})
        )


_KEPT = tuple(
    one.name
    for one in fields(Capture)
    if one.name in InteractionRecord.model_fields and one.name != "request"
)
"""What goes into the journal, and from there into the record, as it is."""
_TIMED = ("shown_by_draw", "ttft_ms", "latency_ms")

_RENAMED = {"model": "model_requested", "base": "base_model", "turn": "turn_position"}
"""Names in journals of releases before the record's own were used."""


def to_record(payload: bytes) -> InteractionRecord:
    """Parse a journal payload into the record that the store keeps.

    Raises:
        ValueError: The payload is not one that `Capture.payload` wrote.
    """
    try:
        return _record(_renamed(orjson.loads(payload)))
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not a captured interaction: {exc!r}") from exc


def _record(raw: dict[str, Any]) -> InteractionRecord:
    request = orjson.loads(raw["request"])
    if raw.get("audience"):
        request["audience"] = raw["audience"]
    request |= raw.get("beside") or {}
    request |= raw.get("asked") or {}
    response = answer_of(raw["response"], stream=raw["stream"])
    usage = response.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    output, finish_reason = _output(response)
    return InteractionRecord(
        **{name: raw[name] for name in (*_KEPT, *_TIMED) if name in raw},
        request=request,
        messages=_messages(request),
        response=response,
        output=output,
        finish_reason=finish_reason,
        prompt_tokens=_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        completion_tokens=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        status="error" if response.get("error") else raw["status"],
    )


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    """Give a payload of an earlier release the names of this one."""
    if "model" not in raw:
        return raw
    name, digest = raw.get("prompt") or (None, None)
    shown = None if raw.get("holdback") is None else raw["show"]
    now = {_RENAMED.get(key, key): value for key, value in raw.items()}
    return now | {"prompt_name": name, "prompt_hash": digest, "shown_by_draw": shown}


def answer_of(text: str, *, stream: bool) -> dict[str, Any]:
    """Return an answer in one piece; empty where it is none.

    Args:
        text: The body of a response.
        stream: Whether it is a stream of events.
    """
    response = _assemble(text) if stream else _json_object(text)
    # Without this, orjson read it, and it holds no lone surrogate.
    return _joined(response) if "\\ud" in text.lower() else response


def _json_object(text: str) -> dict[str, Any]:
    """The response body, or an empty object where the response was cut short."""
    try:
        value = _parsed(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _parsed(text: str) -> Any:
    """Parse JSON, that with an escaped lone surrogate too, which orjson refuses.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if "\\ud" not in text.lower():
            raise
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as exc:
        raise ValueError("JSON is nested too deep") from exc


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _joined(value: Any) -> Any:
    """Join surrogate pairs, which two deltas may have shared, and replace those left alone."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_joined(item) for item in value]
    if isinstance(value, dict):
        return {_joined(key): _joined(item) for key, item in value.items()}
    return value


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None


def _messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The chat messages that the model saw, whatever the endpoint calls them."""
    messages = request.get("messages", request.get("input", request.get("prompt")))
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        messages = [{"role": "user", "content": messages}]
    if request.get("continue_final_message"):  # a draft, with which the answer begins
        messages = messages[:-1]
    if isinstance(instructions := request.get("instructions"), str):  # /v1/responses
        return [{"role": "system", "content": instructions}, *messages]
    return messages


def _assemble(stream: str) -> dict[str, Any]:
    """Fold server-sent events into the body that the same request gives without streaming."""
    body: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    # By newlines alone: a text may hold U+2028 or U+0085, which JSON leaves as they are.
    for line in stream.split("\n"):
        if not line.startswith("data:"):
            continue
        event = _json_object(line[5:])
        if isinstance(event.get("response"), dict):  # /v1/responses: the last event holds it all
            body = event["response"]
            continue
        for key, value in event.items():
            if key != "choices" and value is not None:
                body[key] = value
        for delta in _dicts(event.get("choices")):
            index = delta.get("index")
            index = index if type(index) is int else 0
            _fold(choices.setdefault(index, {"index": index}), delta)
    if choices:
        body["choices"] = [choices[i] for i in sorted(choices)]
        body["object"] = str(body.get("object", "")).removesuffix(".chunk")
    return body


def _fold(choice: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("finish_reason", "stop_reason"):
        if delta.get(key) is not None:
            choice[key] = delta[key]
    if "text" in delta:
        choice["text"] = choice.get("text", "") + plain(delta["text"])
    piece = delta.get("delta")
    if "delta" not in delta:
        return
    piece = piece if isinstance(piece, dict) else {}
    message = choice.setdefault("message", {"role": "assistant", "content": ""})
    for key in ("content", "reasoning", "reasoning_content", "refusal"):
        if text := plain(piece.get(key)):
            message[key] = (message.get(key) or "") + text
    for call in _dicts(piece.get("tool_calls")):
        place = call.get("index", 0)
        if type(place) is not int or not 0 <= place < MAX_TOOL_CALLS:
            continue
        calls = message.setdefault("tool_calls", [])
        while len(calls) <= place:
            calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
        slot = calls[place]
        if call.get("id"):
            slot["id"] = call["id"]
        for function in _dicts([call.get("function")]):
            for key in ("name", "arguments"):
                slot["function"][key] += plain(function.get(key))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _output(response: dict[str, Any]) -> tuple[str, str | None]:
    """The text of candidate 0 and why it ended."""
    if response.get("abstained") is True:
        return "", ABSTAINED
    if response.get("choices"):
        # Of a cut stream the first may be missing; another's text is not its output.
        return candidates.of(response).get(0, ("", None))
    parts = [
        part for item in _dicts(response.get("output")) for part in _dicts(item.get("content"))
    ]
    status = response.get("status")
    return "".join(plain(part.get("text")) for part in parts), (
        status if isinstance(status, str) else None
    )
