"""What of a request people outside wrote or tools gave: what guards of requests read.

The line's own system prompt and the model's earlier answers are left out. A role that is not known
is not trusted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving import endpoints
from serving.gateway.request import InferenceRequest

_TRUSTED = frozenset({"system", "developer", "assistant", "agent"})
_BY_THE_MODEL = frozenset({"function_call", "reasoning", "item_reference"})
_PEOPLE = frozenset({"user", "customer"})
_NO_TEXT = frozenset({"type", "image_url", "audio_url", "video_url", "input_audio", "file_data"})


@dataclass(frozen=True, slots=True)
class Untrusted:
    """The untrusted part of a request.

    Args:
        text: All of it, by line ends.
        last: What the customer wrote last.
        readable: Whether all of it is text; token ids are not.
        field: The request's field that holds it.
    """

    text: str
    last: str
    readable: bool
    field: str


def of(asked: InferenceRequest) -> Untrusted:
    """Return the untrusted part of a request."""
    if asked.of_task is not None:
        turns = [(str(turn.role), turn.text) for turn in asked.of_task.turns]
        return _joined([("previous", asked.of_task.previous or ""), *turns], "conversation")
    sent = asked.sent
    if asked.endpoint == endpoints.COMPLETIONS:
        prompt, suffix = sent.get("prompt"), sent.get("suffix")
        said = [("user", text) for text in texts([prompt, suffix])]
        return _joined(said, "prompt", readable=not _has_numbers(prompt))
    field = "input" if asked.endpoint == endpoints.RESPONSES else "messages"
    given = sent.get(field)
    if isinstance(given, str):
        return _joined([("user", given)], field)
    return _joined(list(messages(given)), field)


def messages(given: Any) -> Iterator[tuple[str, str]]:
    """Yield the messages of a chat, or the items of a response's input, as (role, text)."""
    for one in given if isinstance(given, list) else ():
        if not isinstance(one, dict):
            continue
        by_the_model = one.get("type") in _BY_THE_MODEL
        role = "assistant" if by_the_model else str(one.get("role") or "tool")
        content = one.get("content"), one.get("output"), one.get("name")
        yield role, "\n".join(texts(list(content)))


def texts(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value, without those that say a part's type or hold media."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in _NO_TEXT:
                yield from texts(one)


def _joined(said: list[tuple[str, str]], field: str, *, readable: bool = True) -> Untrusted:
    checked = [(role, text) for role, text in said if role not in _TRUSTED and text]
    last = next((text for role, text in reversed(checked) if role in _PEOPLE), "")
    return Untrusted("\n".join(text for _, text in checked), last, readable, field)


def _has_numbers(prompt: Any) -> bool:
    return isinstance(prompt, list) and any(
        isinstance(one, int) or _has_numbers(one) for one in prompt
    )
