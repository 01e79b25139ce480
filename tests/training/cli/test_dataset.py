"""The commands over a real store, as a person runs them."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.config import settings
from serving.errors import NotFound, SwitchboardError
from serving.store import audit, feedback, interactions
from serving.store.database import Database
from serving.store.records import AuditEntry
from tests.training.data.formats.dialogs import dialog, write
from tests.training.records import drawn, labelled
from training.cli.dataset import app
from training.errors import DatasetError


@pytest.fixture
def config(tmp_path: Path, tiny_base: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text(
        "curation: {min_examples: 2, min_conversations: 8, golden_share: 0}\n"
    )
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: {tiny_base}\nlobs: {{care: {{}}, sales: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
    )

    async def fill() -> None:
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        rows = [
            labelled(
                f"i{n}",
                {"edit": f"final {n}"},
                created_at=float(n),
                conversation_id=drawn(n >= 15, n),
            )
            for n in range(20)
        ]
        await interactions.save(db, [row.interaction for row in rows])
        for row in rows:
            await feedback.add(db, row.feedback[0])
        await db.close()

    asyncio.run(fill())
    return file


def call(config: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    if result.exception and isinstance(result.exception, SwitchboardError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def audited(config: Path) -> list[AuditEntry]:
    """The acts on datasets, oldest first."""

    async def read() -> list[AuditEntry]:
        db = Database(settings.load(config).store.url)
        await db.open()
        found = await audit.tail(db)
        await db.close()
        return [entry for entry in reversed(found) if entry.action.endswith("_dataset")]

    return asyncio.run(read())


def test_a_dataset_is_built_listed_shown_exported_and_built_again(
    config: Path, tmp_path: Path
) -> None:
    built = call(config, "build", "care", "--out", str(tmp_path / "a"))
    id_ = built.output.split()[1]
    assert "no near-duplicate" in built.output
    assert id_[:16] in call(config, "list", "care").output
    assert id_[:16] not in call(config, "list", "sales").output
    assert call(config, "show", id_[:10]).output == built.output
    target = tmp_path / "pairs.jsonl"
    why = "--reason", "a partner asked"
    call(config, "export", id_, str(target), "--format", "preference", *why)
    built_by, exported = audited(config)
    assert (built_by.action, built_by.target) == ("build_dataset", id_)
    assert (exported.action, exported.target) == ("export_dataset", id_)
    assert exported.detail["reason"] == why[1]
    assert exported.detail["format"] == "preference"
    assert json.loads(target.read_text().splitlines()[0]).keys() == {"prompt", "chosen", "rejected"}

    manifest = tmp_path / "a" / "datasets" / f"care-{id_[:16]}" / "manifest.json"
    options = "--from-manifest", str(manifest), "--out", str(tmp_path / "b")
    assert id_ in call(config, "build", "care", *options).output
    again = tmp_path / "b" / "datasets" / f"care-{id_[:16]}"
    for file in manifest.parent.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(DatasetError, match="is not a manifest of sales"):
        call(config, "build", "sales", *options)


def test_star_is_imported_by_its_domains(config: Path, tmp_path: Path) -> None:
    star = write(tmp_path / "star.jsonl.gz", [dialog(n) for n in range(1, 13)])
    for name in ("suggestion", "summary"):
        prompt = tmp_path / "prompts" / "default" / f"{name}.jinja"
        prompt.parent.mkdir(exist_ok=True)
        prompt.write_text("{% block user %}{{ turns[-1].text }}{% endblock %}")
    options = "import", "sales", str(star), "--out", str(tmp_path / "a")
    shown = call(config, *options, "--format", "star", "--domain", "hotel").output
    assert "import of sales" in shown
    with pytest.raises(DatasetError, match="no dialog is about sales alone"):
        call(config, *options, "--format", "star")
    refused = CliRunner().invoke(app, [*options, "--domain", "hotel", "--config", str(config)])
    assert refused.exit_code == 2


def test_an_imported_dataset_says_so(config: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    rows = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(12)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = call(config, "import", "sales", str(own), "--out", str(tmp_path / "a")).output
    assert "import of sales" in shown
    id_ = shown.split()[1]
    assert "import" in call(config, "list", "sales").output
    target = tmp_path / "sft.jsonl"
    call(config, "export", id_, str(target))
    assert len(target.read_text().splitlines()) == 7


def test_an_unknown_line_or_id_is_named(config: Path) -> None:
    with pytest.raises(NotFound, match="there are: care, sales"):
        call(config, "build", "cars")
    with pytest.raises(NotFound, match="there is no dataset 'none'"):
        call(config, "show", "none")


def test_the_command_is_found_by_switchboard() -> None:
    from importlib.metadata import entry_points

    (point,) = entry_points(group="switchboard.commands", name="dataset")
    assert point.load() is app
