"""Embeddings, ranks and searches by meaning, by a model in each replica of the real server."""

from pathlib import Path

import openai
import orjson
import pytest

from tests.e2e.server import Server

pytestmark = pytest.mark.e2e


def test_the_model_beside_the_engine_embeds_ranks_and_finds(server: Server, tmp_path: Path) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.keys["service"])
    made = client.embeddings.create(model="embeddings", input=["refund", "money", "refund"])
    assert made.data[0].embedding == pytest.approx(made.data[2].embedding, abs=1e-5)
    assert made.data[0].embedding != pytest.approx(made.data[1].embedding, abs=1e-3)
    body = {"query": "refund", "documents": ["kettle", "refund"], "top_n": 1}
    ranked = client.post("/rerank", body=body, cast_to=object)
    assert isinstance(ranked, dict)
    assert ranked["results"][0]["document"] == {"text": "refund"}
    answer = client.responses.create(model="base", input="hi", max_output_tokens=4)
    with pytest.raises(openai.NotFoundError, match="responses are not stored"):
        client.responses.retrieve(answer.id)

    page = tmp_path / "kettles.md"
    page.write_text("# Kettles\n\nDescale them with vinegar.\n")
    config = ("-c", str(server.config))
    imported = server.cli("knowledge", "import", "sales", str(page), *config)
    assert imported.returncode == 0, imported.stdout + imported.stderr
    found = server.cli("knowledge", "search", "sales", "kettle vinegar", "--json", *config)
    (hit,) = orjson.loads(found.stdout)["entries"]
    assert hit["words"] > 0
    assert hit["meaning"] > 0, "the import's embedding and the question's are of one model"
