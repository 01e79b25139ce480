"""An upstream's embeddings and ranks, over real connections."""

import json
from typing import Any

import pytest

from serving.embedding.remote import AT_ONCE, RemoteModel
from serving.errors import InvalidRequest, Unavailable, UpstreamFailed
from serving.fallback.circuit_breaker import Breaker
from serving.fallback.upstream import Upstream
from tests.serving.fallback.test_upstream import json_answer, serving

pytestmark = pytest.mark.usefixtures("_key")


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-theirs")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def model(upstream: Upstream, clock: Clock | None = None) -> RemoteModel:
    return RemoteModel(upstream, Breaker(2, 30, clock or Clock()))


def answer(value: Any, status: str = "200 OK") -> bytes:
    return json_answer(json.dumps(value).encode(), status)


async def test_embeddings_come_in_the_order_of_their_texts() -> None:
    rows = [{"index": 1, "embedding": [0, 1.5]}, {"index": 0, "embedding": [1, 0]}]
    said = answer({"data": rows, "usage": {"prompt_tokens": 5, "total_tokens": 5}})
    async with serving(said) as (upstream, heard):
        found = await model(upstream).embed(["a", "b"])
    assert found.vectors.tolist() == [[1.0, 0.0], [0.0, 1.5]]
    assert found.tokens == 5
    assert heard.body == {"input": ["a", "b"], "model": "big-1"}


async def test_many_texts_are_asked_in_parts() -> None:
    rows = [{"index": n, "embedding": [n]} for n in range(AT_ONCE)]
    async with serving(answer({"data": rows})) as (upstream, heard):
        found = await model(upstream).embed(["a"] * 2 * AT_ONCE)
        assert len(found.vectors) == 2 * AT_ONCE
        assert len(heard.body["input"]) == AT_ONCE


@pytest.mark.parametrize(
    "said",
    [
        answer({}, "500 Internal Server Error"),
        answer({}),
        answer({"data": [{"index": 0, "embedding": "x"}]}),
        answer({"data": [{"index": 0, "embedding": [1]}]}),
        answer({"data": [{"index": n, "embedding": [1] * n} for n in range(1, 3)]}),
        json_answer(b"nonsense"),
    ],
)
async def test_what_is_no_embeddings_is_refused(said: bytes) -> None:
    async with serving(said) as (upstream, _):
        with pytest.raises(UpstreamFailed):
            await model(upstream).embed(["a", "b"])


async def test_documents_are_scored_in_their_order() -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
    said = answer({"results": results, "usage": {"total_tokens": 7}})
    async with serving(said) as (upstream, heard):
        assert await model(upstream).rank("q", ["a", "b"]) == ([0.2, 0.9], 7)
    assert heard.line == "POST /v1/rerank HTTP/1.1"
    assert heard.body == {"query": "q", "documents": ["a", "b"], "top_n": 2, "model": "big-1"}
    async with serving(answer({"results": results[:1]})) as (upstream, _):
        with pytest.raises(UpstreamFailed):
            await model(upstream).rank("q", ["a", "b"])


async def test_a_refusal_of_the_texts_is_told_and_opens_no_breaker() -> None:
    said = answer({"error": {"message": "too long"}}, "400 Bad Request")
    async with serving(said) as (upstream, _):
        asked = model(upstream)
        for _ in range(4):
            with pytest.raises(InvalidRequest, match=r"upstream:big refused \(400\): too long"):
                await asked.embed(["a"])


async def test_one_that_fails_again_and_again_is_not_asked_for_a_while() -> None:
    clock = Clock()
    async with serving(answer({}, "503 Service Unavailable")) as (upstream, heard):
        asked = model(upstream, clock)
        for _ in range(2):
            with pytest.raises(UpstreamFailed):
                await asked.embed(["a"])
        heard.line = ""
        with pytest.raises(Unavailable):
            await asked.rank("q", ["a"])
        assert heard.line == ""
        clock.now = 31
        with pytest.raises(UpstreamFailed):
            await asked.embed(["a"])


async def test_one_that_must_see_no_personal_values_sees_what_they_are() -> None:
    said = answer({"data": [{"index": 0, "embedding": [1]}]})
    async with serving(said, redact=True) as (upstream, heard):
        await model(upstream).embed(["Write to jo.doe@example.com"])
        first = heard.body["input"]
        await model(upstream).embed(["Write to ann@example.org"])
    assert first == heard.body["input"] == ["Write to [EMAIL]"], "alike, so that meanings are"
    said = answer({"results": [{"index": 0, "relevance_score": 1}]})
    async with serving(said, redact=True) as (upstream, heard):
        await model(upstream).rank("jo.doe@example.com", ["of ann@example.org"])
    assert "example" not in json.dumps(heard.body)
