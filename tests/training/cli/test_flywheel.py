import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.errors import NotFound
from training.cli import flywheel
from training.recipe.flywheel import FlywheelConfig

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text("flywheel: {every_hours: 24}")
    file = tmp_path / "config.yaml"
    file.write_text(
        f"model: none\nlobs: {{care: {{}}, sales: {{}}}}\n"
        f"store: {{url: 'sqlite:///{tmp_path}/store.sqlite'}}\n"
        f"adapters: {{uri: '{tmp_path}/adapters'}}\n"
    )
    return str(file)


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(flywheel.app, [*arguments])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_finding_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli.flywheel; "
        "print(sorted({'torch', 'numpy', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_line_is_paused_resumed_and_forced(config: str) -> None:
    waiting = "due, but with 0 new feedback of 50"
    assert f"care: waits: {waiting}" in invoke("status", "--config", config)
    assert invoke("pause", "care", "--config", config) == "care is paused\n"
    shown = invoke("status", "--config", config)
    assert "care: waits: paused" in shown
    assert f"sales: waits: {waiting}" in shown
    assert invoke("run", "--once", "--lob", "care", "--config", config) == "care: paused\n"
    invoke("resume", "care", "--config", config)
    invoke("force", "care", "--config", config)
    assert "care: begins a cycle: asked for" in invoke("status", "--config", config)


def test_a_forced_cycle_without_data_ends_and_is_shown(config: str, tmp_path: Path) -> None:
    invoke("force", "care", "--config", config)
    out = str(tmp_path / "runs")
    assert "care: asked for" in invoke("run", "--once", "--config", config, "--out", out)
    shown = invoke("status", "--lob", "care", "--config", config)
    assert re.search(r"cycle 1, .*: too_little_data\n", shown)
    report = tmp_path / "runs" / "cycles" / "care-0001" / "cycle.md"
    assert report.read_text().startswith("# care, cycle 1: too little data\n")


def test_an_unknown_line_is_refused(config: str) -> None:
    for command in (["pause", "cars"], ["status", "--lob", "cars"]):
        with pytest.raises(NotFound, match="there are: care, sales"):
            invoke(*command, "--config", config)


def test_the_page_names_every_key_of_the_recipe_s_section() -> None:
    rows: list[Any] = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs/flywheel.md").read_text(), re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(FlywheelConfig.model_fields) <= named
