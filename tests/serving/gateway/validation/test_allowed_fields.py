"""What passes on to vLLM: named fields, switches and headers."""

from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.gateway.validation import allowed_fields

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("endpoint", sorted(allowed_fields.FIELDS))
@pytest.mark.parametrize(
    "switches",
    [
        {"chat_template": "{% for i in range(10**9) %}{% endfor %}"},
        {"enable_thinking": "{{ 7 * 7 }}"},
        {"enable_thinking": True, "tokenize": False},
        {"documents": []},
        "enable_thinking",
        [],
    ],
)
def test_a_template_gets_switches_and_no_program(endpoint: str, switches: Any) -> None:
    if endpoint == "/v1/completions":
        endpoint = CHAT
    with pytest.raises(InvalidRequest) as refused:
        allowed_fields.check(endpoint, {"chat_template_kwargs": switches})
    assert (refused.value.param or "").startswith("chat_template_kwargs")


def test_thinking_can_be_switched() -> None:
    for endpoint in (CHAT, "/v1/responses"):
        allowed_fields.check(endpoint, {"chat_template_kwargs": {"enable_thinking": False}})
        allowed_fields.check(endpoint, {"chat_template_kwargs": None})


@pytest.mark.parametrize("tool", [{"type": "mcp", "server_url": "http://10.0.0.1"}, "x", {}])
def test_tools_are_functions(tool: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        allowed_fields.check("/v1/responses", {"tools": [tool]})
    assert refused.value.param == "tools[0]"


def test_headers_that_are_not_listed_are_dropped() -> None:
    sent = {b"accept": b"*/*", b"x-data-parallel-rank": b"1", b"x-session-id": b"theirs"}
    sent |= {b"cookie": b"c", b"x-vllm-priority": b"-9", b"authorization": b"Bearer sb-x"}
    assert allowed_fields.headers(sent) == {b"accept": b"*/*"}


def test_vllm_knows_every_field_that_may_pass(
    vllm_bodies: dict[str, tuple[Any, dict[str, Any]]],
) -> None:
    """Also guards the list against a vLLM that renames one."""
    assert vllm_bodies.keys() == allowed_fields.FIELDS.keys()
    for endpoint, (model, _) in vllm_bodies.items():
        ours = allowed_fields.FIELDS[endpoint] - {"best_of"}  # for upstreams
        assert ours <= model.model_fields.keys(), ours - model.model_fields.keys()
