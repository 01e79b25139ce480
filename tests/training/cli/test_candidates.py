"""`switchboard candidates add`: what it takes, says and exits with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serving.errors import Conflict, InvalidRequest
from training.cli import candidates
from training.cli.train import REJECTED

ROOT = Path(__file__).parents[3]
BETTER = "{% block user %}{{ turns | length }}{% endblock %}"


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.add_typer(candidates.app, name="candidates")
    return app


@pytest.fixture
def config(tiny_base: Path, tmp_path: Path) -> Path:
    (tmp_path / "better.jinja").write_text(BETTER)
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text("")
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: {tiny_base}\nlobs: {{care: {{}}}}\nadapters: {{uri: {tmp_path / 'adapters'}}}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
    )
    return file


def arguments(config: Path, *more: str, task: str = "suggestion") -> list[str]:
    file = config.with_name("better.jinja")
    return ["candidates", "add", "care", "--prompt", f"{task}={file}", "-c", str(config), *more]


def test_finding_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli.candidates; "
        "heavy = {'torch', 'numpy', 'jinja2', 'openai', 'sqlalchemy', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_gate_it_is_a_candidate_and_the_next_step_is_said(
    app: typer.Typer, config: Path
) -> None:
    done = CliRunner().invoke(app, arguments(config, "--no-gate"))
    assert done.exit_code == 0, done.output
    assert "care@1 is registered as a candidate: the base with another prompt" in done.output
    assert "switchboard canary run care --version care@1" in done.output
    again = CliRunner().invoke(app, arguments(config, "--no-gate"))
    assert "care@1 is that candidate already" in again.output


def test_json_is_for_programs(app: typer.Typer, config: Path) -> None:
    done = CliRunner().invoke(app, arguments(config, "--no-gate", "--json"))
    found = json.loads(done.stdout)
    assert found["version"] == "care@1"
    assert found["changed"] == ["suggestion"]
    assert found["new"] is True
    assert found["gate"] is None
    assert found["prompts"]["suggestion"]["name"] == "care@1/suggestion"


def test_another_model_is_a_candidate_by_the_name_of_its_upstream(
    app: typer.Typer, config: Path
) -> None:
    config.write_text(config.read_text() + "upstreams: {big: {url: 'http://b/v1', model: b-1}}\n")
    given = ["candidates", "add", "care", "--model", "big", "-c", str(config), "--no-gate"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    said = "care@1 is registered as a candidate: b-1 of upstreams.big instead of the base\n"
    assert said in done.output
    found = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert found["upstream"] == {"name": "big", "model": "b-1"}
    assert (found["new"], found["changed"]) == (False, [])


def test_neither_a_prompt_nor_a_model_is_refused(app: typer.Typer, config: Path) -> None:
    done = CliRunner().invoke(app, ["candidates", "add", "care", "-c", str(config)])
    assert done.exit_code == 2
    assert "--prompt, --model or both" in done.output


def test_a_gate_that_does_not_accept_is_status_3(
    app: typer.Typer, config: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, arguments(config, "--out", str(tmp_path / "runs")))
    assert done.exit_code == REJECTED, done.output
    assert "- Not enough data: care: 0 usable examples" in done.output


def test_a_bad_file_and_what_is_live_already_are_errors(app: typer.Typer, config: Path) -> None:
    config.with_name("better.jinja").write_text("{% block user %}{{ nobody }}{% endblock %}")
    done = CliRunner().invoke(app, arguments(config, "--no-gate"))
    assert isinstance(done.exception, InvalidRequest)
    assert "'nobody' is undefined" in str(done.exception)
    default = ROOT / "serving/config/default_prompts/default/suggestion.jinja"
    config.with_name("better.jinja").write_text(default.read_text())
    done = CliRunner().invoke(app, arguments(config, "--no-gate"))
    assert isinstance(done.exception, Conflict)


@pytest.mark.parametrize("given", ["reply=a.jinja", "a.jinja", "summary="])
def test_an_option_that_is_no_task_and_file_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="the tasks are suggestion, summary"):
        candidates.parse([given])


def test_a_task_is_given_once() -> None:
    assert candidates.parse(["summary=a", "handover=b"]) == {
        "summary": Path("a"),
        "handover": Path("b"),
    }
    with pytest.raises(typer.BadParameter, match="given twice"):
        candidates.parse(["summary=a", "summary=b"])
