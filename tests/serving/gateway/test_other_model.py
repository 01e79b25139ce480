"""A version that another model answers: it goes the way of any version, live, pinned and behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serving.adapters import upstreams
from serving.adapters.registry import Registry
from serving.adapters.upstreams import Other
from serving.routing import Table
from serving.store import shadows
from serving.store.records import Route
from tests import versions
from tests.serving.gateway.conftest import LOBS, Site
from tests.waiting import until_async

TASK: dict[str, Any] = {"lob": "care", "conversation": [{"role": "customer", "text": "Hi"}]}
CHAT = {"model": "care", "messages": [{"role": "user", "content": "Hi"}]}
OWN = "{% block user %}OWN: {{ turns[-1].text }}{% endblock %}"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


class Model:
    """Another server: what it was asked lies in `heard`, and its next answer has this `status`."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.heads: list[bytes] = []
        self.status = 200
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        (length,) = [int(line[15:]) for line in lines if line[:15] == b"content-length:"]
        body = json.loads(await reader.readexactly(length))
        self.heard.append(body)
        self.heads.append(head)
        event: dict[str, Any] = {"id": "t", "object": "chat.completion", "model": body["model"]}
        if body.get("stream"):
            event["object"] += ".chunk"
            events = [event | {"choices": [{"index": 0, "delta": {"content": c}}]} for c in "Yo"]
            events.append(event | {"choices": [], "usage": {"completion_tokens": 2}})
            texts = [json.dumps(one) for one in events] + ["[DONE]"]
            content = "".join(f"data: {text}\n\n" for text in texts).encode()
        else:
            message = {"role": "assistant", "content": "Yo"}
            choices = [{"index": i, "message": message} for i in range(body.get("n") or 1)]
            content = json.dumps(event | {"choices": choices}).encode()
        said = (self.status, len(content), content)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % said)
        await writer.drain()
        writer.close()


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    made = Model()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
def sections(model: Model) -> dict[str, Any]:
    url = f"http://127.0.0.1:{model.port}/v1"
    return {
        "adapters": {"max_active": 1},
        "upstreams": {"big": {"url": url, "model": "big-1", "redact": True}},
    }


def folder(path: Path, prompt: str, upstream: str = "big") -> Path:
    path.mkdir()
    upstreams.write(path, Other(upstream, "big-1"))
    if prompt:
        (path / "prompts").mkdir()
        (path / "prompts" / "suggestion.jinja").write_text(prompt)
    return path


@pytest.fixture
async def other(site: Site, tmp_path: Path) -> str:
    """care@1, which the other model answers by a prompt of its own; nothing leads to it yet."""
    registry = Registry(site.db, str(tmp_path / "adapters"))
    return await versions.register(registry, folder(tmp_path / "big", OWN), rank=0)


def route(site: Site, **fields: Any) -> None:
    site.adapters.table = Table("base", LOBS, {"care": Route(lob="care", epoch=3, **fields)})


async def load(site: Site, name: str) -> None:
    await site.adapters.ensure(await site.adapters.describe(name))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("loaded", [False, True])
async def test_live_it_answers_under_its_own_name_by_its_own_prompt(
    site: Site, model: Model, other: str, stream: bool, loaded: bool
) -> None:
    route(site, live=other)
    if loaded:
        await load(site, other)
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK | {"stream": stream})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-switchboard-version"] == other
    assert f'"model":"{other}"' in answer.text
    (asked,) = model.heard
    assert asked["model"] == "big-1"
    assert asked["messages"] == [{"role": "user", "content": "OWN: Hi"}]
    assert site.asked == []
    (kept,) = await site.stored()
    assert (kept.version, kept.model_requested, kept.output) == (other, "care", "Yo")
    assert (kept.prompt_name, kept.status) == (f"{other}/suggestion", "completed")
    (step,) = kept.steps
    assert (step["step"], step["outcome"], step["via"]) == (other, "answered", "upstream:big")


async def test_its_upstream_s_redaction_holds(site: Site, model: Model, other: str) -> None:
    route(site, live=other)
    said = {"role": "customer", "text": "I am at bob@example.org"}
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK | {"conversation": [said]})
    assert answer.status_code == 200, answer.text
    assert "bob@example.org" not in json.dumps(model.heard)
    assert b"sb-" not in model.heads[0]


async def test_pinned_it_answers_who_may_ask_a_candidate(
    site: Site, model: Model, other: str
) -> None:
    async with await site.http(["agent"], ["care"]) as http:
        refused = await http.post("/v1/chat/completions", json=CHAT | {"model": other})
    async with await site.http(["trainer"], ["care"]) as http:
        answer = await http.post("/v1/chat/completions", json=CHAT | {"model": other, "n": 2})
    assert refused.status_code == 403
    assert answer.headers["x-switchboard-version"] == other
    assert len(answer.json()["choices"]) == 2
    assert [one["n"] for one in model.heard] == [2]


async def test_on_canary_its_arm_alone_is_its(site: Site, model: Model, other: str) -> None:
    route(site, live="care@2", canary=other, canary_share=0.5)
    names = []
    async with await site.http(["agent"], ["care"]) as http:
        for i in range(20):
            headers = {"x-conversation-id": f"c{i}"}
            answer = await http.post("/v1/suggestions", json=TASK, headers=headers)
            names.append(answer.headers["x-switchboard-version"])
    assert set(names) == {"care@2", other}
    assert (names.count("care@2"), names.count(other)) == (len(site.asked), len(model.heard))


async def test_suggestions_are_candidates_of_its_and_completions_go_through(
    site: Site, model: Model, other: str
) -> None:
    route(site, live=other)
    fields = {"response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 2}
    async with await site.http(["service"], ["care"]) as http:
        several = await http.post("/v1/suggestions", json=TASK | {"n": 2})
        chat = await http.post("/v1/chat/completions", json=CHAT | fields)
    assert (several.status_code, chat.status_code) == (200, 200), several.text + chat.text
    assert several.json()["choices"][0]["message"]["content"] == "Yo"
    assert model.heard[0]["n"] == 2
    assert {name: model.heard[1][name] for name in fields} == fields


@pytest.mark.parametrize(("loaded", "slot"), [("care@2", "care@2"), ("other", None)])
async def test_it_takes_no_slot_of_the_engine_s(
    site: Site, other: str, loaded: str, slot: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = other if loaded == "other" else loaded
    if name == other:
        await load(site, other)
    route(site, live=name)
    slots, claim = [], site.admission.claim

    def noted(*given: Any) -> Any:
        slots.append(given[-1])
        return claim(*given)

    monkeypatch.setattr(site.admission, "claim", noted)
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK)
    assert (answer.status_code, slots) == (200, [slot])


async def test_where_it_fails_the_line_s_chain_answers(
    site: Site, model: Model, other: str
) -> None:
    route(site, live=other, previous="care@2")
    site.line(fallback=["previous"])
    model.status = 500
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK)
    assert answer.headers["x-switchboard-version"] == "care@2"
    (kept,) = await site.stored()
    steps = [(one["step"], one["outcome"], one["reason"]) for one in kept.steps]
    assert steps == [(other, "failed", "error"), ("care@2", "answered", None)]
    assert kept.prompt_name != f"{other}/suggestion"


@pytest.mark.parametrize(("chain", "status"), [(["base"], 200), ([], 422)])
async def test_one_whose_upstream_is_not_configured_is_refused_or_fallen_back_from(
    site: Site, model: Model, tmp_path: Path, chain: list[str], status: int
) -> None:
    registry = Registry(site.db, str(tmp_path / "adapters"))
    gone = await versions.register(registry, folder(tmp_path / "gone", "", "gone"), rank=0)
    route(site, live=gone)
    site.line(fallback=chain)
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK)
    assert answer.status_code == status, answer.text
    assert model.heard == []
    if chain:
        assert answer.headers["x-switchboard-version"] == "base"
        (kept,) = await site.stored()
        assert [one["reason"] for one in kept.steps] == ["adapter", None]
    else:
        assert "`upstreams.gone`" in answer.json()["error"]["message"]


async def test_behind_a_version_that_fails_it_answers_as_the_previous_one(
    site: Site, model: Model, other: str
) -> None:
    route(site, live="care@2", previous=other)
    site.line(fallback=["previous"])
    site.broken.add("care@2")
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK)
    assert answer.headers["x-switchboard-version"] == other
    assert len(model.heard) == 1


async def test_without_a_chain_its_failure_is_said(site: Site, model: Model, other: str) -> None:
    route(site, live=other)
    model.status = 500
    async with await site.http(["agent"], ["care"]) as http:
        answers = [await http.post("/v1/suggestions", json=TASK) for _ in range(7)]
    assert {one.status_code for one in answers} == {503}
    said = [one.json()["error"]["message"] for one in answers]
    assert said[0] == f"{other} did not answer: error."
    assert said[-1] == f"{other} did not answer: breaker."
    assert len(model.heard) == site.settings.fallback.failures


@pytest.mark.parametrize("chain", [[], ["base"]])
@pytest.mark.parametrize(
    ("path", "body", "what"),
    [
        ("/v1/responses", {"model": "care", "input": "Hi"}, "/v1/responses"),
        (
            "/v1/chat/completions",
            CHAT
            | {
                "messages": [*CHAT["messages"], {"role": "assistant", "content": "We"}],
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
            "going on from a draft",
        ),
    ],
)
async def test_what_an_upstream_cannot_do_is_refused(
    site: Site,
    model: Model,
    other: str,
    path: str,
    body: dict[str, Any],
    what: str,
    chain: list[str],
) -> None:
    route(site, live=other)
    site.line(fallback=chain)
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert f"it cannot be asked for {what}" in answer.json()["error"]["message"]
    assert (model.heard, site.asked) == ([], [])


async def test_its_tool_calls_are_read_by_its_own_server(
    site: Site, model: Model, other: str
) -> None:
    route(site, live=other)
    await load(site, other)
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post("/v1/chat/completions", json=CHAT | {"tools": [TOOL]})
    assert answer.status_code == 200, answer.text
    assert model.heard[0]["tools"] == [TOOL]


async def test_as_a_shadow_it_is_asked_unseen(site: Site, model: Model, other: str) -> None:
    site.shadow(version=other)
    async with await site.http(["agent"], ["care"]) as http:
        headers = {"x-conversation-id": "c"}
        answer = await http.post("/v1/suggestions", json=TASK, headers=headers)
    assert answer.headers["x-switchboard-version"] == "care@2"
    await until_async(lambda: len(model.heard) == 1, "the shadow is asked")
    await site.stored()
    await until_async(lambda: not site.shadows.tasks, "its answer is stored")
    (kept,) = await shadows.for_line(site.db, lob="care", version=other, since=0)
    assert kept.output == "Yo"
    assert model.heard[0]["messages"] == [{"role": "user", "content": "OWN: Hi"}]
    assert [body["model"] for _, body in site.asked] == ["care@2"]
