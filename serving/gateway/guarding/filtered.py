"""An answer that a guard refused, as its API says it: `finish_reason` is `content_filter`.

The form is OpenAI's (API reference, chat completions: `finish_reason`; responses:
`incomplete_details.reason`). Pure functions of an answer's body.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from serving.capture.interaction import DONE
from serving.gateway.guarding.untrusted import texts
from serving.guards.verdict import Action

HEADER = b"x-switchboard-guard"
REASON = "content_filter"
_ORDER = list(Action)
_WRITTEN = ("content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call")


def header(guards: Sequence[Mapping[str, Any]]) -> tuple[bytes, bytes]:
    """Return the header that names the gravest action of what guards found.

    Args:
        guards: As a capture holds them; at least one.
    """
    gravest = max((Action(one["action"]) for one in guards), key=_ORDER.index)
    return HEADER, gravest.value.encode()


def written(answer: Mapping[str, Any]) -> dict[int, str]:
    """Return what the model wrote, by choice: its text, reasoning and calls of tools."""
    if isinstance(answer.get("output"), list):
        return {0: "\n".join(texts(answer["output"]))}
    return {
        choice.get("index", place): "\n".join(_of_choice(choice))
        for place, choice in enumerate(answer.get("choices") or ())
        if isinstance(choice, dict)
    }


def _of_choice(choice: Mapping[str, Any]) -> Iterator[str]:
    yield from texts(choice.get("text"))
    message = choice.get("message")
    if isinstance(message, dict):
        yield from texts([message.get(key) for key in _WRITTEN])


def replaced(answer: Mapping[str, Any], indices: Collection[int]) -> dict[str, Any]:
    """Return an answer without what some of its choices hold.

    Args:
        answer: A chat completion, a completion or a response.
        indices: The choices that a guard refused.
    """
    if isinstance(answer.get("output"), list):
        why = {"status": "incomplete", "incomplete_details": {"reason": REASON}, "output": []}
        kept = {key: value for key, value in answer.items() if key != "output_text"}
        return {**kept, **why}
    choices = [
        _emptied(choice, index) if index in indices else choice
        for place, choice in enumerate(answer["choices"])
        for index in [choice.get("index", place)]
    ]
    # What vLLM adds to a choice or an answer on request may hold the tokens of its text.
    return {**{k: v for k, v in answer.items() if k in OF_ANSWER}, "choices": choices}


OF_ANSWER = ("id", "object", "created", "model", "usage", "service_tier", "system_fingerprint")
"""Fields of an answer that hold nothing of its text."""
OF_CHUNK = ("id", "object", "created", "model", "system_fingerprint")
"""What the events of a stream have in common."""


def _emptied(choice: Mapping[str, Any], index: int) -> dict[str, Any]:
    kept: dict[str, Any] = {"index": index}
    if "text" in choice:
        kept["text"] = ""
    else:
        kept["message"] = {"role": "assistant", "content": ""}
    return {**kept, "logprobs": None, "finish_reason": REASON}


def events(answer: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the events of a stream all of whose choices were refused.

    Args:
        answer: What the stream would be in one piece, before anything was taken out.
    """
    empty = replaced(answer, written(answer))
    if "output" in empty:
        event = {"type": "response.incomplete", "sequence_number": 0, "response": empty}
        yield b"event: response.incomplete\ndata: " + orjson.dumps(event) + b"\n\n"
        return
    usage = empty.pop("usage", None)
    chat = any("message" in choice for choice in empty["choices"])
    if chat:
        empty["object"] = "chat.completion.chunk"
    for choice in empty["choices"]:
        if "message" in choice:
            choice["delta"] = choice.pop("message")
        yield b"data: " + orjson.dumps({**empty, "choices": [choice]}) + b"\n\n"
    if usage is not None:  # in the engine's order, by which response.py knows it
        yield b"data: " + orjson.dumps({**empty, "choices": [], "usage": usage}) + b"\n\n"
    yield DONE


def endings(
    common: Mapping[str, Any], indices: Collection[int], *, completion: bool
) -> list[bytes]:
    """Return the events that end some choices of a stream that a guard stopped.

    Args:
        common: What each event of the stream holds, of `OF_CHUNK`.
        indices: The choices that have not ended.
        completion: Whether it is a completion's stream and no chat's.
    """
    added: dict[str, Any] = {"text": ""} if completion else {"delta": {}}
    return [
        b"data: %b\n\n"
        % orjson.dumps(
            {
                **common,
                "choices": [{"index": index, **added, "logprobs": None, "finish_reason": REASON}],
            }
        )
        for index in indices
    ]
