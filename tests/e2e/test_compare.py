"""Models compared through the real server, as a person does it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.server import ROOT, Server, with_store
from training.data import dataset, repository
from training.data.curation import Curated
from training.data.examples import Example, Message
from training.recipe.curation import CurationConfig

pytestmark = pytest.mark.e2e
TEXTS = ["My kettle is broken.", "Where is my order?", "I want to buy a lamp.", "It is late."]


def held_out() -> list[Example]:
    return [
        Example(
            f"held-{n}",
            f"held-c{n // 2}",
            float(n),
            "chat",
            1,
            "base",
            "edit",
            (Message("user", f"customer: {text}"),),
            "shown",
            "I am sorry. We will see to it by Friday.",
            max_tokens=6,
        )
        for n, text in enumerate(TEXTS * 2)
    ]


def note(server: Server, root: Path) -> str:
    """Note a dataset of these examples in the server's store and return its id."""
    curated = Curated((), (), tuple(held_out()), (), (), {}, (0.0, ""))
    built = dataset.write("care", curated, CurationConfig(), root, kind="import")

    with_store(server, lambda db: repository.note(db, "care", built))
    return built.id


def test_base_adapter_and_another_endpoint_stand_side_by_side(
    server: Server,
    register: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = register(server, "care", strength=4.0)
    monkeypatch.setenv("SWITCHBOARD_OTHER_API_KEY", server.keys["trainer"])
    done = server.command(
        *("compare", "care", "--models", f"base,{adapter}", "--dataset", note(server, tmp_path)),
        *("--server", f"{server.url}/v1", "--model", "base", "--price-per-hour", "3.6"),
        *("--price-per-mtok-in", "1", "--price-per-mtok-out", "2", "--concurrency", "4"),
        *("--recipe", str(ROOT / "configs/training/care.yaml"), "--out", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "compare-care"
    assert (folder / "compare.md").read_text().strip() in done.stdout
    base, tuned, other = json.loads((folder / "compare.json").read_text())["models"]
    assert [m["model"] for m in (base, tuned, other)] == ["base", adapter, "base"]
    similarity = [m["scores"]["edit_similarity"]["mean"] for m in (base, tuned, other)]
    assert similarity[0] == similarity[2] != similarity[1]
    assert other["gain"]["mean"] == 0
    for model in (base, tuned, other):
        assert 0 < model["ttft_ms"]["p50"] <= model["latency_ms"]["p50"]
        assert 0 < model["output_tokens"] <= 6
    for model in (base, tuned):
        hour = model["engine_s"] * 1000 * 3.6 / 3600
        assert model["cost_per_thousand_conversations"] == pytest.approx(hour)
    least = 1000 * 2 * (1 + 2) / 1e6  # two answers a conversation, a token each way
    assert other["cost_per_thousand_conversations"] > least


def test_a_refused_key_is_said_plainly(server: Server, tmp_path: Path) -> None:
    done = server.cli(
        *("compare", "care", "--models", "base", "--dataset", note(server, tmp_path)),
        *("--server", server.url, "--model", "base", "--out", str(tmp_path)),
        *("--recipe", str(ROOT / "configs/training/care.yaml")),
    )
    assert done.returncode == 1
    assert "refuses this key" in done.stderr
    assert not (tmp_path / "compare-care").exists()
