"""The command over a real store."""

import asyncio
import json
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serving.store import feedback, interactions
from serving.store.database import Database
from tests.training.records import drawn, labelled
from training.cli.plan import plan
from training.errors import RecipeError

app = typer.Typer()
app.command()(plan)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose store holds ten judged conversations and ten others."""
    (tmp_path / "prompts").mkdir()
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: hub/model\nlobs: {{care: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: '{url}'}}\n"
    )
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text("method: sft\n")

    async def fill() -> None:
        db = Database(url)
        await db.open()
        rows = [
            labelled(
                f"i{n}",
                {"used": True} if n % 3 else {"edit": "other words"},
                created_at=time.time() - 3600,
                conversation_id=None if n >= 30 else drawn(n < 10, n),
            )
            for n in range(40)
        ]
        await interactions.save(db, [row.interaction for row in rows])
        for row in rows:
            await feedback.add(db, row.feedback[0])
        await db.close()

    asyncio.run(fill())
    return file


def test_the_plan_counts_what_judges_and_what_is_outside_conversations(config: Path) -> None:
    said = CliRunner().invoke(app, ["care", "--config", str(config), "--days", "1"])
    assert said.exit_code == 0, said.output
    assert "care: 10 conversations judged in 1 days (20% are drawn to judge)" in said.output
    assert "25% of the answers are outside conversations" in said.output
    assert "Unsupported facts, non_inferiority" in said.output
    found = json.loads(
        CliRunner().invoke(app, ["care", "--config", str(config), "--days", "1", "--json"]).output
    )
    assert found["needs"][2]["conversations"] == 50
    assert found["needs"][2]["days"] == pytest.approx(5)


def test_an_effect_that_nothing_could_show_is_refused(config: Path) -> None:
    recipe = config.parent / "recipe.yaml"
    recipe.write_text("gate: {superiority: [{metric: edit_similarity, margin: 0.1}]}\n")
    said = CliRunner().invoke(app, ["care", "--config", str(config), "--recipe", str(recipe)])
    assert isinstance(said.exception, RecipeError)


def test_the_plan_says_what_training_takes_where_the_model_is_here(
    config: Path, tmp_path: Path
) -> None:
    from training.demo.base_model import make_base_model

    asked = ["care", "--config", str(config), "--json", "--examples", "100", "--tokens", "64"]
    unknown = CliRunner().invoke(app, asked)
    assert unknown.exit_code == 0, unknown.output
    assert "hub/model" in json.loads(unknown.stdout)["training"]["unknown"]

    base = Path(__file__).parents[3] / ".cache" / "switchboard" / "demo-base"
    make_base_model(base)
    config.write_text(config.read_text().replace("hub/model", str(base)))
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    takes = json.loads(said.stdout)["training"]
    (stage,) = takes["stages"]
    assert stage["stage"] == "sft"
    assert stage["weights_bytes"] == 4 * takes["parameters"]
    assert stage["least_s"] > 0
    people = CliRunner().invoke(app, asked[:3])
    assert "sft takes about" in people.output
    assert "1000 examples of 300 tokens take" in people.output
