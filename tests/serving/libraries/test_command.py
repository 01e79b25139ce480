"""The commands of a line's libraries, as a person runs them."""

import json
from pathlib import Path

import orjson
from typer.testing import CliRunner

from serving import cli
from tests.tiny_sentence_models import make_sentence_model


def test_libraries_are_imported_listed_searched_and_gone_back_to(
    store_url: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "prompts").mkdir()
    config = tmp_path / "s.yaml"
    config.write_text(
        f"model: {tmp_path}\nlobs: {{care: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: '{store_url}'}}\n"
    )

    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(cli.app, [*words, "-c", str(config)])
        assert done.exit_code == status, (done.output, done.exception)
        return done.output

    kb = tmp_path / "kb"
    kb.mkdir()
    (kb / "a.md").write_text("# Refunds\nWithin 30 days.\n")
    assert "version 1" in run("knowledge", "import", "care", str(kb))
    (kb / "a.md").write_text("# Refunds\nWithin 14 days.\n# Shipping\nThree days.\n")
    assert "configure lobs.care.knowledge" in run("knowledge", "import", "care", str(kb))
    found = orjson.loads(run("knowledge", "search", "care", "refunds", "--json"))
    assert (found["version"], found["entries"][0]["text"]) == (2, "Within 14 days.")
    assert "3 entries" not in run("knowledge", "list", "care")
    assert "version 1" in run("knowledge", "use", "care", "1")
    listed = orjson.loads(run("knowledge", "list", "--json"))
    assert [(one["number"], one["live"]) for one in listed] == [(2, False), (1, True)]
    assert "Within 30 days" in run("knowledge", "search", "care", "refunds")
    run("knowledge", "use", "care", "9", status=1)
    run("knowledge", "import", "sales", str(kb), status=1)
    (tmp_path / "r.csv").write_text("title,text\nRefund,Your refund comes.\n")
    assert "1 entries" in run("responses", "import", "care", str(tmp_path / "r.csv"))
    assert "Your refund comes" in run("responses", "search", "care", "refund")
    assert "r.csv" in run("responses", "list")
    assert "version 1" in run("responses", "use", "care", "1")


def test_an_import_embeds_and_a_search_shows_both_scores(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "a.md").write_text("# Kettles\nDescale them with vinegar.\n# Money\nRefunds.\n")
    model = make_sentence_model(tmp_path / "sentences")
    config = tmp_path / "s.yaml"
    line = {"knowledge": {"min_similarity": -1}}
    given = {"model": str(tmp_path), "lobs": {"care": line}, "prompts": str(tmp_path / "prompts")}
    given |= {
        "store": {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"},
        "embeddings": {"model": str(model)},
    }
    config.write_text(json.dumps(given))

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli.app, [*words, "-c", str(config)])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    assert "2 entries" in run("knowledge", "import", "care", str(tmp_path / "a.md"))
    entries = orjson.loads(run("knowledge", "search", "care", "vinegar", "--json"))["entries"]
    assert [one["words"] > 0 for one in entries] == [True, False]
    assert all(isinstance(one["meaning"], float) for one in entries)
    assert "meaning" in run("knowledge", "search", "care", "vinegar")
    config.write_text(json.dumps(given | {"embeddings": None}))
    entries = orjson.loads(run("knowledge", "search", "care", "vinegar", "--json"))["entries"]
    assert [one["meaning"] for one in entries] == [None]
