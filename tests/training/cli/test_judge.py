"""The command over a real store; only the judge's server is a stand-in."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.errors import NotFound
from serving.store import feedback, interactions
from serving.store.database import Database
from tests.training.evaluation.test_judge import longer
from tests.training.records import labelled
from tests.training.stub_server import Stub, serving
from training.cli import judge
from training.errors import RecipeError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training" / "default.yaml").write_text("evaluation: {resamples: 400}\n")
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: {tmp_path}\nlobs: {{care: {{}}, sales: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
    )

    async def fill() -> None:
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        rows = [
            labelled(f"i{n}", {"edit": f"what the agent wrote {n}"}, created_at=float(n))
            for n in range(20)
        ]
        rows.append(labelled("kept", {"used": True}, created_at=99.0))
        await interactions.save(db, [row.interaction for row in rows])
        for row in rows:
            await feedback.add(db, row.feedback[0])
        await db.close()

    asyncio.run(fill())
    return file


def call(config: Path, answer: Callable[[str, str], str], *arguments: str) -> tuple[Result, Stub]:
    app = typer.Typer()
    app.command("judge")(judge.judge)
    with serving(Stub(answer)) as stub:
        asked = [*arguments, "--config", str(config), "--url", stub.url]
        return CliRunner().invoke(app, asked), stub


def test_a_judge_that_sides_with_people_is_trusted(config: Path) -> None:
    result, stub = call(config, longer, "care")
    assert result.exit_code == 0, result.output
    assert "20 pairs from feedback; judge base, prompt" in result.output
    assert "Agreement, by decided conversations: 100.0% [83.9%, 100.0%] of 20" in result.output
    assert "  summary: 100.0%" in result.output
    assert "Cohen's kappa: 1.00 [1.00, 1.00]" in result.output
    assert "Better than chance" in result.output
    assert len(stub.models) == 40


def test_a_judge_that_looks_at_the_position_is_not(config: Path) -> None:
    result, stub = call(config, lambda *_: "B", "care", "--model", "big")
    assert result.exit_code == judge.DISTRUSTED
    assert "Verdict flips with the order, of pairs: 100.0% [83.9%, 100.0%] of 20" in result.output
    assert "Do not trust this judge" in result.output
    assert set(stub.models) == {"big"}


def test_without_feedback_nobody_is_asked(config: Path) -> None:
    result, stub = call(config, longer, "sales")
    assert result.exit_code == judge.DISTRUSTED
    assert "no feedback tells" in result.output
    assert stub.models == []


def test_an_unknown_line_is_refused(config: Path) -> None:
    result, _ = call(config, longer, "cars")
    assert isinstance(result.exception, NotFound)


def test_a_judge_that_learned_from_the_feedback_is_refused(config: Path) -> None:
    result, stub = call(config, longer, "care", "--model", "care@3")
    assert isinstance(result.exception, RecipeError)
    assert stub.models == []


def test_finding_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli.judge; "
        "print(sorted({'numpy', 'openai', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
