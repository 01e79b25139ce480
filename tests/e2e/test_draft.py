"""Suggestions that go on from what the agent has typed, through the real engine."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.server import Server
from tests.waiting import until

pytestmark = pytest.mark.e2e
DRAFT = "I am very sorry"
TURNS = [{"role": "customer", "text": "My kettle is broken. I want my money back."}]


def client(server: Server, who: str = "service") -> httpx.Client:
    headers = {"authorization": f"Bearer {server.keys[who]}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=240)


def body(draft: str | None = None, **more: Any) -> dict[str, Any]:
    typed = {} if draft is None else {"draft": draft}
    return {"lob": "care", "conversation": TURNS, "max_tokens": 12, "stop": []} | typed | more


def metric(http: httpx.Client, name: str) -> float:
    """A metric of both replicas, all labels together."""
    lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("draft", [DRAFT, f"{DRAFT} ", "I am very so"])
def test_the_answer_is_the_draft_and_its_completion(
    server: Server, stream: bool, draft: str
) -> None:
    with client(server) as http:
        said = http.post("/v1/suggestions", json=body(draft, stream=stream))
        assert said.status_code == 200, said.text
        if stream:
            lines = [line[6:] for line in said.text.splitlines() if line.startswith("data: {")]
            chunks = [orjson.loads(line) for line in lines]
            choices = [choice for chunk in chunks for choice in chunk["choices"]]
            id_, (end,) = chunks[0]["id"], [one for one in choices if one["finish_reason"]]
            text = "".join(choice["delta"].get("content") or "" for choice in choices)
        else:
            id_, (end,) = said.json()["id"], said.json()["choices"]
            text = end["message"]["content"]
        assert text.startswith(draft)
        assert end["completion"]
        assert text == draft + end["completion"]
        assert 0 < end["confidence"] <= 1
        assert end["rank"] == 0
        kept = http.get(f"/v1/interactions/{id_}").json()
    assert kept["output"] == text
    assert all(message["role"] != "assistant" for message in kept["messages"])


def test_what_stands_before_a_keystroke_is_read_from_the_cache(server: Server) -> None:
    talk = [{"role": "customer", "text": "My kettle is broken, and so is the toaster. " * 15}]
    asked = body(conversation=talk, conversation_id="cached") | {"max_tokens": 2}
    with client(server) as http, client(server, "admin") as admin:
        http.post("/v1/suggestions", json=asked | {"draft": "I"}).raise_for_status()
        before = metric(admin, "vllm:prefix_cache_hits_total")
        http.post("/v1/suggestions", json=asked | {"draft": "I am"}).raise_for_status()
        until(
            lambda: metric(admin, "vllm:prefix_cache_hits_total") > before,
            "the engine reads the prompt's beginning from its cache",
        )


def test_several_candidates_are_ranked_and_the_same_with_the_same_seed(server: Server) -> None:
    asked = body(n=3, seed=7, temperature=1.5)
    with client(server) as http:
        first = http.post("/v1/suggestions", json=asked).raise_for_status().json()
        again = http.post("/v1/suggestions", json=asked).raise_for_status().json()
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert texts == [choice["message"]["content"] for choice in again["choices"]]
    assert len(set(texts)) == len(texts) <= 3
    assert [choice["index"] for choice in first["choices"]] == list(range(len(texts)))
    sure = [choice["confidence"] for choice in first["choices"]]
    assert sure == sorted(sure, reverse=True)


def test_who_types_on_ends_what_was_asked_before(server: Server) -> None:
    """The older one would write up to the end of the context; the engine lets go of it."""
    asked = body(DRAFT, conversation_id="typing")
    endless = asked | {"max_tokens": 900, "ignore_eos": True}
    with (
        client(server) as http,
        client(server, "admin") as admin,
        ThreadPoolExecutor(1) as beside,
    ):
        older = beside.submit(http.post, "/v1/suggestions", json=endless)
        until(lambda: metric(admin, "vllm:num_requests_running") > 0, "the older one runs")
        newer = http.post("/v1/suggestions", json=asked | {"draft": f"{DRAFT} th"})
        ended = older.result()
        assert newer.status_code == 200, newer.text
        assert (ended.status_code, ended.json()["error"]["code"]) == (409, "superseded")
        assert ended.headers["x-should-retry"] == "false"
        until(lambda: metric(admin, "vllm:num_requests_running") == 0, "the engine is idle")
        assert metric(admin, "switchboard_superseded_total") >= 1
