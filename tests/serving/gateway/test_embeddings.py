"""/v1/embeddings by OpenAI's client and /v1/rerank, answered by a real model beside the replica."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from prometheus_client import REGISTRY

from tests import tiny_sentence_models
from tests.serving.gateway.conftest import Site
from tests.tiny_sentence_models import TOKENS, WIDTH

TEXTS = ["refund the money", "kettle", "money and a refund"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sentence_models.make_sentence_model(tmp_path_factory.mktemp("sentences"))


@pytest.fixture
def sections(folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    more = getattr(request, "param", {})
    return {
        "embeddings": {"model": str(folder), "served_name": "tiny", "max_inputs": 4} | more,
    }


async def client(site: Site, roles: list[str] | None = None) -> openai.AsyncOpenAI:
    http = await site.http(roles or ["service"], ["care"])
    key = http.headers.pop("authorization").removeprefix("Bearer ")
    return openai.AsyncOpenAI(api_key=key, base_url="http://sb/v1", http_client=http, max_retries=0)


def counted(endpoint: str, outcome: str) -> float:
    labels = {"endpoint": endpoint, "outcome": outcome}
    return REGISTRY.get_sample_value("switchboard_embedding_requests_total", labels) or 0.0


async def test_openai_s_client_gets_the_same_numbers_in_either_encoding(site: Site) -> None:
    before = counted("embeddings", "answered")
    async with await client(site) as mine:
        packed = await mine.embeddings.create(model="tiny", input=TEXTS)  # it asks for base64
        plain = await mine.embeddings.create(model="tiny", input=TEXTS, encoding_format="float")
        one = await mine.embeddings.create(model="tiny", input=TEXTS[0], dimensions=WIDTH)
    assert [row.index for row in plain.data] == [0, 1, 2]
    vectors = np.array([row.embedding for row in plain.data])
    assert vectors.shape == (3, WIDTH)
    assert np.array([row.embedding for row in packed.data]) == pytest.approx(vectors, abs=1e-6)
    assert one.data[0].embedding == pytest.approx(vectors[0], abs=1e-5)
    assert (vectors @ vectors[0])[2] > (vectors @ vectors[0])[1]
    assert plain.model == "tiny"
    assert plain.usage.prompt_tokens == plain.usage.total_tokens > one.usage.total_tokens > 0
    assert counted("embeddings", "answered") == before + 3


async def test_base64_is_of_little_endian_floats(site: Site) -> None:
    async with await site.http(["service"], ["care"]) as http:
        body = {"model": "tiny", "input": "kettle", "encoding_format": "base64"}
        row = (await http.post("/v1/embeddings", json=body)).json()["data"][0]
        plain = await http.post("/v1/embeddings", json=body | {"encoding_format": "float"})
    numbers = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
    assert numbers == pytest.approx(plain.json()["data"][0]["embedding"], abs=1e-6)


@pytest.mark.parametrize(
    ("given", "param", "told"),
    [
        ({"input": []}, "input", ""),
        ({"input": ""}, "input", ""),
        ({"input": ["kettle", ""]}, "input", ""),
        ({"input": [1, 2]}, "input", "numbers of tokens"),
        ({"input": [[1, 2], [3]]}, "input", "numbers of tokens"),
        ({"input": ["a"] * 5}, "input", "at most 4"),
        ({"input": "x " * TOKENS}, "input", f"the model reads {TOKENS}"),
        ({"dimensions": 8}, "dimensions", "and no fewer"),
        ({"dimensions": 0}, "dimensions", ""),
        ({"encoding_format": "int8"}, "encoding_format", ""),
        ({"inputs": "x"}, "inputs", ""),
        ({"model": ""}, "model", ""),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_its_field(
    site: Site, given: dict[str, Any], param: str, told: str
) -> None:
    async with await site.http(["service"], ["care"]) as http:
        said = await http.post("/v1/embeddings", json={"model": "tiny", "input": "x"} | given)
    assert said.status_code == 400, said.text
    error = said.json()["error"]
    assert error["param"].startswith(param)
    assert told in error["message"]


async def test_another_model_and_another_key_are_refused(site: Site) -> None:
    async with await client(site) as mine:
        with pytest.raises(openai.NotFoundError, match="`tiny` embeds"):
            await mine.embeddings.create(model="text-embedding-3-small", input="x")
        assert "tiny" in [one.id async for one in mine.models.list()]
        assert (await mine.models.retrieve("tiny")).id == "tiny"
    async with await client(site, ["reviewer"]) as other:
        with pytest.raises(openai.PermissionDeniedError):
            await other.embeddings.create(model="tiny", input="x")
    async with await site.http(["service"], ["care"]) as http:
        http.headers["authorization"] = "Bearer sb-none"
        for path in ("/v1/embeddings", "/v1/rerank"):
            assert (await http.post(path, json={})).status_code == 401


@pytest.mark.parametrize("sections", [{"matryoshka": True}], indirect=True)
async def test_a_model_made_for_it_gives_fewer_dimensions(site: Site) -> None:
    async with await client(site) as mine:
        asked = await mine.embeddings.create(model="tiny", input="kettle", dimensions=8)
        whole = await mine.embeddings.create(model="tiny", input="kettle")
        with pytest.raises(openai.BadRequestError, match=f"{WIDTH} at most"):
            await mine.embeddings.create(model="tiny", input="kettle", dimensions=WIDTH + 1)
    first = np.array(whole.data[0].embedding[:8])
    assert asked.data[0].embedding == pytest.approx(first / np.linalg.norm(first), abs=1e-5)


async def test_documents_are_ranked_by_similarity_where_nothing_else_ranks(site: Site) -> None:
    body: dict[str, Any] = {"query": "refund of money", "documents": ["kettle", {"text": TEXTS[2]}]}
    async with await site.http(["service"], ["care"]) as http:
        said = (await http.post("/v1/rerank", json=body)).json()
        top = await http.post(
            "/v1/rerank", json=body | {"top_n": 1, "return_documents": False, "model": "tiny"}
        )
        none = await http.post("/v1/rerank", json=body | {"model": "other"})
        many = await http.post("/v1/rerank", json=body | {"documents": ["a"] * 4})
    assert said["model"] == "tiny"
    assert [one["index"] for one in said["results"]] == [1, 0]
    assert said["results"][0]["document"] == {"text": TEXTS[2]}
    scores = [one["relevance_score"] for one in said["results"]]
    assert 1 >= scores[0] > scores[1]
    assert said["usage"]["total_tokens"] > 0
    (one,) = top.json()["results"]
    assert one == {"index": 1, "relevance_score": pytest.approx(scores[0], abs=1e-5)}
    assert (none.status_code, none.json()["error"]["param"]) == (404, "model")
    assert (many.status_code, many.json()["error"]["param"]) == (400, "documents")


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": [""]}, "documents"),
        ({"documents": [{"title": "x"}]}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"queries": "x"}, "queries"),
    ],
)
async def test_what_cannot_be_ranked_is_refused(
    site: Site, given: dict[str, Any], param: str
) -> None:
    async with await site.http(["service"], ["care"]) as http:
        said = await http.post("/v1/rerank", json={"query": "x", "documents": ["y"]} | given)
    assert said.status_code == 400, said.text
    assert said.json()["error"]["param"].startswith(param)
