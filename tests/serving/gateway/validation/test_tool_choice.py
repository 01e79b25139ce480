"""Tools need a parser of the model's calls, which the configuration names."""

from typing import Any

import pytest

from serving.config.settings import Settings
from serving.errors import InvalidRequest
from serving.gateway.validation import tool_choice
from tests.serving.gateway.conftest import Site

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CHAT = {"model": "care", "messages": [{"role": "user", "content": "hi"}]}


def settings(**fields: Any) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {}}} | fields)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"tool_choice": None},
        {"tool_choice": "auto"},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "look_up"}}},
    ],
)
async def test_tools_without_a_parser_are_refused_with_the_key_to_set(
    site: Site, choice: dict[str, Any]
) -> None:
    async with await site.http(["service"], ["care"]) as http:
        for path, body in (
            ("/v1/chat/completions", CHAT),
            ("/v1/responses", {"model": "care", "input": "hi"}),
        ):
            answer = await http.post(path, json={**body, "tools": [TOOL], **choice})
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (400, "tools")
            assert "engine.tool_call_parser" in error["message"]
    assert site.asked == []


@pytest.mark.parametrize("more", [{"tools": []}, {"tools": [TOOL], "tool_choice": "none"}])
async def test_tools_that_are_not_called_need_no_parser(site: Site, more: dict[str, Any]) -> None:
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post("/v1/chat/completions", json=CHAT | more)
    assert answer.status_code == 200


def test_a_parser_or_an_upstream_reads_the_calls() -> None:
    asked = {"tools": [TOOL]}
    tool_choice.check(asked, settings(engine={"tool_call_parser": "hermes"}), "care")
    upstream = {
        "upstreams": {"big": {"url": "https://big.example/v1", "model": "big"}},
        "lobs": {"care": {"fallback": ["upstream:big"]}},
    }
    tool_choice.check(asked, settings(**upstream), "care")
    with pytest.raises(InvalidRequest):
        tool_choice.check(asked, settings(**upstream), None)
