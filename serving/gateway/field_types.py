"""Types of the fields by which we decide, or that vLLM's own validators take for granted.

vLLM converts where it can: `"n": "16384"` is 16384 to it. What we count, route or record by must
be what vLLM will read, so these fields are taken in their own type only.
"""

from typing import Any

from serving.errors import InvalidRequest

_INTEGERS = (
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "priority"),
    *("top_k", "seed", "prompt_logprobs", "top_logprobs", "truncate_prompt_tokens"),
    *("thinking_token_budget", "max_tool_calls"),
)
_NUMBERS = (
    *("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty"),
    *("repetition_penalty", "length_penalty"),
)
_COUNTS = ("n", "best_of")
_OBJECTS = ("structured_outputs", "stream_options", "response_format")
_TEXTS = ("model", "user", "instructions")
_SWITCHES = (
    *("stream", "store", "echo", "ignore_eos", "skip_special_tokens", "add_special_tokens"),
    *("include_stop_str_in_output", "spaces_between_special_tokens", "return_token_ids"),
    *("return_tokens_as_token_ids", "parallel_tool_calls", "include_reasoning"),
    *("add_generation_prompt", "continue_final_message"),
)


def check(request: dict[str, Any]) -> None:
    """Check a request to the engine; null is as good as absent, except for `messages`.

    Raises:
        InvalidRequest: A field has another type; names it.
    """
    for name in _INTEGERS + _COUNTS:
        value = request.get(name)
        if value is not None and not _is_integer(value):
            raise InvalidRequest(f"`{name}` must be an integer.", param=name)
        if value is not None and name in _COUNTS and value < 1:
            raise InvalidRequest(f"`{name}` must be at least 1.", param=name)
    for name in _NUMBERS:
        if request.get(name) is not None and type(request[name]) not in (int, float):
            raise InvalidRequest(f"`{name}` must be a number.", param=name)
    for names, kind, noun in (
        (_OBJECTS, dict, "an object"),
        (_TEXTS, str, "a string"),
        (_SWITCHES, bool, "true or false"),
    ):
        for name in names:
            if not isinstance(request.get(name), kind | None):
                raise InvalidRequest(f"`{name}` must be {noun}.", param=name)
    for name, value in (request.get("stream_options") or {}).items():
        if not isinstance(value, bool | None):
            field = f"stream_options.{name[:64]}"
            raise InvalidRequest(f"`{field}` must be true or false.", param=field)
    if not isinstance(request.get("messages", []), list):
        raise InvalidRequest("`messages` must be a list.", param="messages")
    if not isinstance(request.get("input"), str | list | None):
        raise InvalidRequest("`input` must be a text or a list.", param="input")
    _check_prompt(request.get("prompt"))


def _check_prompt(prompt: Any) -> None:
    """A text, its tokens, or a list of either; never a mixture, which cannot be counted."""
    if prompt is None or isinstance(prompt, str):
        return
    if isinstance(prompt, list) and (
        all(map(_is_integer, prompt))
        or all(isinstance(one, str) for one in prompt)
        or all(isinstance(one, list) and all(map(_is_integer, one)) for one in prompt)
    ):
        return
    raise InvalidRequest(
        "`prompt` must be a text, a list of tokens, or a list of texts or of lists of tokens.",
        param="prompt",
    )


def _is_integer(value: Any) -> bool:
    return type(value) is int
