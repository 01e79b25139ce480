"""The command over a real store; only the judge's server is a stand-in."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.errors import NotFound
from serving.store import audit, interactions
from serving.store.database import Database
from tests.training.records import labelled
from tests.training.stub_server import Stub, serving
from tests.waiting import until
from training.cli import monitor
from training.data.sampling import DAY_S
from training.errors import RecipeError
from training.monitoring import windows
from training.recipe.monitoring import MonitoringConfig

ROOT = Path(__file__).parents[3]
REFUSAL = "I'm sorry, but I can't help with that."
RECIPE = """
evaluation: {resamples: 400}
monitoring:
  window_s: 0.001
  people: {half_width: 0.2}
  judge: {half_width: 0.1}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose store holds a line that has begun to refuse."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text(RECIPE)
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: hub/model\nlobs: {{care: {{}}, sales: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
    )

    async def fill() -> None:
        begins = windows.at(MonitoringConfig(), time.time()).begins
        span = time.time() - begins
        rows = [
            labelled(f"r{n}", created_at=begins - DAY_S - n * 60, output="Hello there.")
            for n in range(200)
        ]
        for n in range(100):
            said = REFUSAL if n % 2 else "Hi."
            rows.append(labelled(f"p{n}", created_at=begins + n * span / 200, output=said))
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        await interactions.save(db, [row.interaction for row in rows])
        await db.close()

    asyncio.run(fill())
    return file


def call(config: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(monitor.monitor)
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def noted(config: Path) -> list[str]:
    async def read() -> list[str]:
        db = Database(f"sqlite:///{config.parent / 'store.sqlite'}")
        await db.open()
        try:
            return [one.detail["what"] for one in await audit.about(db, "care", "quality_alarm")]
        finally:
            await db.close()

    return asyncio.run(read())


def test_figures_are_shown_and_nobody_is_told(config: Path) -> None:
    result = call(config, "care")
    assert result.exit_code == monitor.ALARMED, result.output
    assert "care: 100 answers in 100 conversations since" in result.output
    assert "refusals" in result.output
    assert "Drawn for people: " in result.output
    assert noted(config) == []


def test_json_says_the_same_for_a_program(config: Path) -> None:
    found = json.loads(call(config, "care", "--json").stdout)
    assert "refusals up" in found["alarms"]
    assert found["answers"] == [200, 100]
    assert found["plans"]["people"]["needed"] == 25
    assert set(found["to_grade"]) <= {f"p{n}" for n in range(100)}


def test_once_notes_the_alarms_and_a_steady_line_has_none(config: Path) -> None:
    assert call(config, "care", "--once").exit_code == monitor.ALARMED
    assert "refusals up" in noted(config)
    quiet = call(config, "sales", "--once")
    assert quiet.exit_code == 0, quiet.output
    assert "sales: 0 answers" in quiet.output


def test_the_judge_s_grades_are_added_to_the_file_and_asked_once(
    config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "grades.jsonl"
    judge = Stub(lambda _model, content: "bad" if "sorry" in content else "good")
    with serving(judge) as stub:
        arguments = ["care", "--grades", str(file), "--judge", "--url", stub.url, "--json"]
        first = json.loads(call(config, *arguments).stdout)
        asked = len(judge.models)
        call(config, *arguments)
    assert asked == len(judge.models) == len(file.read_text().splitlines()) > 20
    assert first["to_judge"] == []
    agreed = next(one for one in first["agreements"] if one["graders"] == ["rules", "judge"])
    assert agreed["share"]["mean"] == 1.0


def test_a_misspelt_key_is_refused_by_name(config: Path) -> None:
    recipe = config.parent / "training" / "default.yaml"
    recipe.write_text("monitoring: {fals_alarm: 0.1}")
    result = call(config, "care")
    assert isinstance(result.exception, RecipeError)
    assert "monitoring.fals_alarm: unknown key" in result.exception.message
    rule = "{metric: refusals, direction: up}"
    recipe.write_text(f"monitoring: {{alarms: [{rule}, {rule}]}}")
    assert "alarms names twice: refusals up" in str(call(config, "care").exception)


def test_an_unknown_line_and_options_that_do_not_go_together_are_refused(config: Path) -> None:
    assert isinstance(call(config, "cars").exception, NotFound)
    assert call(config, "care", "--judge").exit_code == 2
    assert call(config, "care", "--once", "--every", "5").exit_code == 2


def test_a_monitor_runs_until_it_is_told_to_stop(config: Path) -> None:
    code = "import typer; from training.cli.monitor import monitor; typer.run(monitor)"
    command = [sys.executable, "-c", code, "care", "--every", "1", "--config", str(config)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as running:
        until(lambda: "refusals up" in noted(config), "an alarm is noted")
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "care: 100 answers" in output
    assert noted(config).count("refusals up") == 1


def test_finding_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli.monitor; "
        "print(sorted({'numpy', 'openai', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
