"""What of a client's request goes on to vLLM: named fields and headers, and nothing else.

vLLM takes more than a model's clients should decide: a chat template is a program that runs in the
server, a connector's parameters name other machines, a cache's salt or a session's id reaches into
what others share. So what may pass is listed, and what a new version of vLLM adds does not pass by
itself.
"""

from collections.abc import Mapping
from typing import Any

from serving import endpoints
from serving.asgi import Headers
from serving.errors import InvalidRequest

_COMMON = frozenset(
    {
        *("model", "stream", "temperature", "top_p", "top_k", "seed", "stop", "user", "priority"),
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias"),
        *("skip_special_tokens", "include_stop_str_in_output", "ignore_eos", "structured_outputs"),
    }
)
_GENERATION = _COMMON | {
    *("max_tokens", "min_tokens", "n", "logprobs", "prompt_logprobs", "stream_options", "min_p"),
    *("stop_token_ids", "allowed_token_ids", "bad_words", "response_format", "length_penalty"),
    *("truncate_prompt_tokens", "truncation_side", "add_special_tokens", "echo"),
    *("spaces_between_special_tokens", "return_token_ids", "return_tokens_as_token_ids"),
    *("logprob_token_ids", "thinking_token_budget"),
}
_CHAT_ONLY = frozenset(
    {
        *("messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice"),
        *("parallel_tool_calls", "reasoning_effort", "include_reasoning", "chat_template_kwargs"),
        *("add_generation_prompt", "continue_final_message"),
    }
)
FIELDS: dict[str, frozenset[str]] = {
    endpoints.CHAT_COMPLETIONS: _GENERATION | _CHAT_ONLY,
    endpoints.COMPLETIONS: _GENERATION | {"prompt", "suffix", "best_of"},
    endpoints.RESPONSES: _COMMON
    | {
        *("input", "instructions", "include", "max_output_tokens", "max_tool_calls", "metadata"),
        *("parallel_tool_calls", "reasoning", "include_reasoning", "store", "text", "tools"),
        *("tool_choice", "top_logprobs", "truncation", "chat_template_kwargs"),
    },
}
"""By vLLM's endpoint, the fields that a client may send."""

AUDIENCES = ("agent", "customer")
"""What our own field `audience` of chat completions and tasks may be; neither vLLM nor an upstream
gets it."""

TEMPLATE_SWITCHES: dict[str, type] = {
    "enable_thinking": bool,
    "thinking": bool,
    "preserve_thinking": bool,
    "reasoning_effort": str,
}
"""The variables of a chat template that a client may set, with their types."""

HEADERS = frozenset({b"accept", b"user-agent", b"traceparent", b"tracestate"})
"""The client's headers that vLLM sees."""


def check(endpoint: str, request: Mapping[str, Any]) -> None:
    """Check a request to one of vLLM's endpoints.

    Raises:
        InvalidRequest: A field is not listed; names it.
    """
    for name in request:
        if name not in FIELDS[endpoint]:
            raise unknown(name)
    check_values(request)


def check_values(request: Mapping[str, Any]) -> None:
    """Check what a listed field holds, where that could name a program or another server.

    Raises:
        InvalidRequest: A template's variable, or a kind of tool, is not listed.
    """
    switches = request.get("chat_template_kwargs")
    if switches is not None:
        if not isinstance(switches, dict):
            raise InvalidRequest(
                "`chat_template_kwargs` must be an object.", param="chat_template_kwargs"
            )
        for name, value in switches.items():
            kind = TEMPLATE_SWITCHES.get(name)
            if kind is None or not isinstance(value, kind):
                field = f"chat_template_kwargs.{name[:64]}"
                raise InvalidRequest(
                    f"`{field}` cannot be set; there are {', '.join(TEMPLATE_SWITCHES)} "
                    "(true or false, the last a text).",
                    param=field,
                )
    tools = request.get("tools")
    if isinstance(tools, list):
        for i, tool in enumerate(tools):
            if not isinstance(tool, dict) or tool.get("type") != "function":
                raise InvalidRequest(
                    "A tool is a function of yours: its `type` is `function`.", param=f"tools[{i}]"
                )


def audience(sent: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return a request without its `audience`, and who that is; null is as good as absent.

    Raises:
        InvalidRequest: It is not one of `AUDIENCES`.
    """
    who = sent.get("audience")
    if who is not None and who not in AUDIENCES:
        raise InvalidRequest('`audience` must be "agent" or "customer".', param="audience")
    return {name: value for name, value in sent.items() if name != "audience"}, who


def unknown(name: str) -> InvalidRequest:
    """The refusal of a field."""
    return InvalidRequest(f"The field `{name[:64]}` is unknown or not allowed.", param=name[:64])


def headers(sent: Headers) -> Headers:
    """The client's headers without those that are not listed."""
    return {name: value for name, value in sent.items() if name in HEADERS}
