"""What embeds and ranks is configured in one place, and a typo is named at the start."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.config.base import explain
from serving.config.settings import Settings

UPSTREAMS = {"vectors": {"url": "http://e.internal/v1", "model": "m"}}


def of(**sections: Any) -> Settings:
    return Settings.model_validate(
        {"model": "m", "lobs": {"care": {}}, "upstreams": UPSTREAMS} | sections
    )


def test_nothing_embeds_unless_it_is_configured() -> None:
    assert of().embeddings is None
    assert of().rerank is None


def test_an_upstream_or_a_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(rerank={"upstream": "vectors"}).rerank is not None
    hub = of(embeddings={"model": "sentence-transformers/all-MiniLM-L6-v2"}).embeddings
    assert hub is not None
    assert hub.model == "sentence-transformers/all-MiniLM-L6-v2"
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = of(embeddings={"model": "./model"}).embeddings
    assert folder is not None
    assert folder.model == str(tmp_path / "model"), "replicas run elsewhere"


@pytest.mark.parametrize(
    ("section", "given", "told"),
    [
        ("embeddings", {"modle": "m"}, "embeddings.modle: unknown key"),
        ("embeddings", {}, "embeddings: Value error, give either"),
        ("rerank", {"model": "m", "upstream": "vectors"}, "rerank: Value error, give either"),
        ("embeddings", {"upstream": "vector"}, "there is no 'vector' in upstreams"),
        ("rerank", {"upstream": "vector"}, "there is no 'vector' in upstreams"),
        ("embeddings", {"model": "./nowhere"}, "embeddings.model: Value error, there is no such"),
        ("embeddings", {"model": "m", "batch": 0}, "embeddings.batch"),
        ("rerank", {"model": "m", "max_inputs": 1}, "rerank.max_inputs: unknown key"),
    ],
)
def test_a_fault_is_named_by_its_key(section: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as fault:
        of(**{section: given})
    assert told in explain(fault.value)


def test_a_line_asks_an_upstream_the_model_here_or_none() -> None:
    for asked in ("vectors", False, None):
        line = {"knowledge": {"embeddings": asked}}
        its = of(lobs={"care": line}).lobs["care"].knowledge
        assert its is not None
        assert its.embeddings == asked
    with pytest.raises(ValidationError, match=r"care.knowledge.embeddings: there is no 'vector'"):
        of(lobs={"care": {"knowledge": {"embeddings": "vector"}}})
