"""`switchboard canary shadow` over a real store."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.errors import NotFound
from serving.store import feedback, interactions, shadows
from serving.store.database import Database
from serving.store.shadows import ShadowRecord
from tests.training.records import labelled
from training.cli.train import canary


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose store holds twenty answers, ten of them shadowed."""
    (tmp_path / "prompts").mkdir()
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: hub/model\nlobs: {{care: {{}}, sales: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: '{url}'}}\n"
    )
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text("method: sft\n")

    async def fill() -> None:
        db = Database(url)
        await db.open()
        rows = [
            labelled(f"i{n}", {"edit": f"final text {n}"}, created_at=time.time() - 3600)
            for n in range(20)
        ]
        await interactions.save(db, [row.interaction for row in rows])
        for n, row in enumerate(rows):
            await feedback.add(db, row.feedback[0])
            if n < 10:
                output = f"final text {n}" if n % 2 else "something else"
                unseen = ShadowRecord(
                    interaction_id=row.interaction.id,
                    version="care@3",
                    output=output,
                    latency_ms=1.0,
                )
                assert await shadows.add(db, unseen)
        await db.close()

    asyncio.run(fill())
    return file


def test_the_latest_shadow_is_compared_and_the_need_is_named(config: Path) -> None:
    said = CliRunner().invoke(canary, ["shadow", "care", "--config", str(config)])
    assert said.exit_code == 0, said.output
    assert "care@3, unseen, beside base: 10 answers with feedback, 10 conversations" in said.output
    assert "a canary alone needs" in said.output
    assert "only a canary shows what the version is worth" in said.output
    asked = ["shadow", "care", "--config", str(config), "--json", "--version", "care@3"]
    found = json.loads(CliRunner().invoke(canary, asked).output)
    assert found["gain"]["low"] < found["gain"]["mean"] < found["gain"]["high"]
    assert found["gain"]["mean"] == pytest.approx(found["gain_of_edited"]["mean"])
    assert found["power"]["effect"] == 0.05


@pytest.mark.parametrize(
    "asked", [["sales"], ["care", "--version", "care@4"], ["care", "--days", "0.01"]]
)
def test_without_shadow_answers_it_says_so(config: Path, asked: list[str]) -> None:
    said = CliRunner().invoke(canary, ["shadow", *asked, "--config", str(config)])
    assert said.exit_code == 0
    assert "no answer of a shadow has feedback" in said.output
    nothing = CliRunner().invoke(canary, ["shadow", *asked, "--config", str(config), "--json"])
    assert json.loads(nothing.output) is None


def test_an_unknown_line_is_refused(config: Path) -> None:
    said = CliRunner().invoke(canary, ["shadow", "other", "--config", str(config)])
    assert isinstance(said.exception, NotFound)
