"""Types of the fields that go on to vLLM, so that it converts none.

vLLM converts where it can: `"n": "16384"` is 16384 to it. What we count, route, record or send to
an upstream must be what vLLM will read, so each field is taken in its own JSON type only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving import endpoints
from serving.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of a field.

    Args:
        noun: What a refusal says that the field must be.
        holds: Whether a value is of it; never asked about null.
    """

    noun: str
    holds: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_prompt(value: Any) -> bool:
    """A text, its tokens, or a list of either; never a mixture, which cannot be counted."""
    whole = (_is_integer, _is_text, _list_of(_is_integer))
    return _is_text(value) or any(_list_of(holds)(value) for holds in whole)


def _are_biases(value: Any) -> bool:
    """By token: JSON's keys are texts, and vLLM reads more than digits as a number."""
    return isinstance(value, dict) and all(
        key.isascii() and key.isdigit() and _is_number(bias) for key, bias in value.items()
    )


_INTEGER = Kind("an integer", _is_integer)
_COUNT = Kind("an integer of at least 1", lambda value: _is_integer(value) and value >= 1)
_NUMBER = Kind("a number", _is_number)
_TEXT = Kind("a string", _is_text)
_SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
_OBJECT = Kind("an object", _is_object)
_IDS = Kind("a list of integers", _list_of(_is_integer))
_TEXTS = Kind("a list of strings", _list_of(_is_text))

KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        (
            *("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "priority"),
            *("top_k", "seed", "prompt_logprobs", "top_logprobs", "truncate_prompt_tokens"),
            *("thinking_token_budget", "max_tool_calls"),
        ),
        _INTEGER,
    ),
    **dict.fromkeys(("n", "best_of"), _COUNT),
    **dict.fromkeys(
        (
            *("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty"),
            *("repetition_penalty", "length_penalty"),
        ),
        _NUMBER,
    ),
    **dict.fromkeys(
        (
            *("model", "user", "instructions", "suffix", "truncation_side", "truncation"),
            "reasoning_effort",
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        (
            *("stream", "store", "echo", "ignore_eos", "skip_special_tokens", "add_special_tokens"),
            *("include_stop_str_in_output", "spaces_between_special_tokens", "return_token_ids"),
            *("return_tokens_as_token_ids", "parallel_tool_calls", "include_reasoning"),
            *("add_generation_prompt", "continue_final_message"),
        ),
        _SWITCH,
    ),
    **dict.fromkeys(("stop_token_ids", "allowed_token_ids", "logprob_token_ids"), _IDS),
    **dict.fromkeys(("bad_words", "include"), _TEXTS),
    "stop": Kind("a string or a list of strings", lambda v: _is_text(v) or _TEXTS.holds(v)),
    "logit_bias": Kind("an object of numbers by token id", _are_biases),
    "metadata": Kind(
        "an object of strings", lambda v: _is_object(v) and all(map(_is_text, v.values()))
    ),
    "prompt": Kind(
        "a text, a list of tokens, or a list of texts or of lists of tokens", _is_prompt
    ),
    # What these hold is of vLLM's or OpenAI's own types, or is looked at elsewhere.
    **dict.fromkeys(
        (
            *("structured_outputs", "stream_options", "response_format", "reasoning", "text"),
            "chat_template_kwargs",
        ),
        _OBJECT,
    ),
    "messages": Kind("a list", lambda value: isinstance(value, list)),
    "tools": Kind("a list", lambda value: isinstance(value, list)),
    "tool_choice": Kind("a string or an object", lambda v: _is_text(v) or _is_object(v)),
    "input": Kind("a text or a list", lambda value: isinstance(value, str | list)),
}
"""By name, the type of a field that may pass (`allowed_fields.FIELDS`)."""


def kind(endpoint: str, name: str) -> Kind | None:
    """The type of a field of an endpoint; tasks take those of a chat completion."""
    if name == "logprobs":  # how many, or whether
        return _INTEGER if endpoint == endpoints.COMPLETIONS else _SWITCH
    return KINDS.get(name)


def check(endpoint: str, request: dict[str, Any]) -> None:
    """Check a request to the engine; null is as good as absent, except for `messages`.

    Args:
        endpoint: The path asked.
        request: The body. What is no field of the engine's is left to others.

    Raises:
        InvalidRequest: A field has another type; names it.
    """
    for name, value in request.items():
        expected = kind(endpoint, name)
        if expected is None or (value is None and name != "messages"):
            continue
        if not expected.holds(value):
            raise InvalidRequest(f"`{name}` must be {expected.noun}.", param=name)
    for name, value in (request.get("stream_options") or {}).items():
        if not isinstance(value, bool | None):
            field = f"stream_options.{name[:64]}"
            raise InvalidRequest(f"`{field}` must be true or false.", param=field)
