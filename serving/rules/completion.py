"""A rule's answer in the form of a chat completion, whole or streamed (OpenAI's API reference)."""

import time
from typing import Any

import orjson

from serving.asgi import Send

_NONE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
"""No model read or wrote a token."""


def body(id_: str, model: str, text: str) -> dict[str, Any]:
    """Return the answer in one piece.

    Args:
        id_: The response's id.
        model: What answered: `rule:NAME@N`.
        text: What it says.
    """
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head(id_, model, "chat.completion"), "choices": [choice], "usage": _NONE}


def events(id_: str, model: str, text: str, *, usage: bool) -> list[bytes]:
    """Return the answer as server-sent events; with token counts as the last where asked for."""
    head = _head(id_, model, "chat.completion.chunk")

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + orjson.dumps({**head, "choices": choices, **more}) + b"\n\n"

    def delta(said: dict[str, str], reason: str | None) -> bytes:
        one = {"index": 0, "delta": said, "logprobs": None, "finish_reason": reason}
        return event([one])

    found = [delta({"role": "assistant", "content": ""}, None), delta({"content": text}, None)]
    found.append(delta({}, "stop"))
    if usage:
        found.append(event([], usage=_NONE))
    return [*found, b"data: [DONE]\n\n"]


async def send(to: Send, id_: str, model: str, text: str, *, stream: bool, usage: bool) -> None:
    """Send the answer as an ASGI response."""
    kind = b"text/event-stream; charset=utf-8" if stream else b"application/json"
    pieces = (
        events(id_, model, text, usage=usage) if stream else [orjson.dumps(body(id_, model, text))]
    )
    headers = [(b"content-type", kind)]
    if not stream:
        headers.append((b"content-length", b"%d" % len(pieces[0])))
    await to({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await to({"type": "http.response.body", "body": piece, "more_body": True})
    await to({"type": "http.response.body", "body": b"", "more_body": False})


def _head(id_: str, model: str, kind: str) -> dict[str, Any]:
    return {"id": id_, "object": kind, "created": int(time.time()), "model": model}
