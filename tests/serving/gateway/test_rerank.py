"""/v1/rerank by a cross-encoder, and both endpoints where nothing is configured."""

from pathlib import Path
from typing import Any

import openai
import pytest

from tests import tiny_sentence_models
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_embeddings import client


@pytest.fixture
def sections(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    if not hasattr(request, "param"):
        return {}
    made = tiny_sentence_models.make_cross_encoder(tmp_path / "pairs")
    return {"rerank": {"model": str(made), "max_documents": 3}}


@pytest.mark.parametrize("sections", ["with a cross-encoder"], indirect=True)
async def test_a_cross_encoder_ranks(site: Site) -> None:
    body = {"query": "refund", "documents": ["kettle", "money", "a refund"]}
    async with await site.http(["agent"], ["care"]) as http:
        said = (await http.post("/v1/rerank", json=body)).json()
        many = await http.post("/v1/rerank", json=body | {"documents": ["a"] * 4})
    scores = [one["relevance_score"] for one in said["results"]]
    assert scores == sorted(scores, reverse=True)
    assert {one["index"] for one in said["results"]} == {0, 1, 2}
    assert all(0 < score < 1 for score in scores)
    assert (said["model"], many.status_code) == ("rerank", 400)
    async with await client(site) as mine:
        with pytest.raises(openai.NotFoundError, match="`embeddings` is not configured"):
            await mine.embeddings.create(model="rerank", input="x")


async def test_a_server_without_such_models_says_so(site: Site) -> None:
    async with await client(site) as mine:
        with pytest.raises(openai.NotFoundError, match="`embeddings` is not configured"):
            await mine.embeddings.create(model="base", input="x")
        names = [one.id async for one in mine.models.list()]
        assert {"rerank", "embeddings"}.isdisjoint(names)
    async with await site.http(["service"], ["care"]) as http:
        said = await http.post("/v1/rerank", json={"query": "x", "documents": ["y"]})
    assert (said.status_code, said.json()["error"]["code"]) == (404, "not_found")
