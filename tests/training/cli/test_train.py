import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from serving.errors import SwitchboardError
from training import pipeline
from training.cli import train
from training.errors import RecipeError
from training.stats.bootstrap import Interval

ROOT = Path(__file__).parents[3]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("train")(train.train)
    app.command("demo")(train.demo)
    return app


def test_finding_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli.train; "
        "heavy = {'torch', 'numpy', 'trl', 'openai', 'matplotlib', 'sqlalchemy', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_pipeline_itself_does_not_import_torch() -> None:
    code = "import sys, training.pipeline; print(sorted({'torch', 'trl'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("accepted", "status"), [(True, 0), (False, train.REJECTED)])
def test_the_exit_status_says_what_the_gate_said(
    app: typer.Typer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_base: Path,
    accepted: bool,
    status: int,
) -> None:
    asked: dict[str, Any] = {}
    scores = SimpleNamespace(
        means={"edit_similarity": Interval(0.5, 0.4, 0.6, 0.95, 9)}, model="base"
    )

    async def run(lob: str, **options: Any) -> Any:
        asked.update(options, lob=lob)
        return SimpleNamespace(
            version="care@1",
            decision=SimpleNamespace(accepted=accepted),
            live=scores,
            candidate=scores,
            folder=tmp_path,
        )

    monkeypatch.setattr(pipeline, "run", run)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "s.yaml").write_text(
        f"model: {tiny_base}\nlobs: {{care: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
    )
    (tmp_path / "r.yaml").write_text("lora: {rank: 2}\n")
    arguments = ["train", "care", "-c", str(tmp_path / "s.yaml"), "--promote", "--on", "ray"]
    arguments += ["--search", "3", "--recipe", str(tmp_path / "r.yaml")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == status, result.output
    assert "care@1: " + ("accepted" if accepted else "rejected") in result.output
    assert (asked["lob"], asked["promote"], asked["recipe"].lora.rank) == ("care", True, 2)
    assert (asked["trials"], asked["recipe"].resources.where) == (3, "ray")


def test_errors_are_ours_so_that_the_command_line_prints_them_plainly(
    app: typer.Typer, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["train", "care", "-c", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, SwitchboardError)
    assert issubclass(RecipeError, SwitchboardError)
