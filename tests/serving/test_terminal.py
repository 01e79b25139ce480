"""What programs read of the commands."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from serving import terminal
from serving.cli import app
from serving.store.records import DatasetRecord
from tests.serving.backup.conftest import place


@dataclass(frozen=True, slots=True)
class Count:
    of: str
    n: int


def test_models_dataclasses_and_paths_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = DatasetRecord(id="a", lob="care", created_at=1.0, uri="/x", manifest={})
    terminal.print_json({"record": record, "count": Count("x", 1), "path": Path("/y")})
    found = json.loads(capsys.readouterr().out)
    assert found["record"]["lob"] == "care"
    assert found["count"] == {"of": "x", "n": 1}
    assert found["path"] == "/y"


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "list"),
        ("audit", "tail"),
        ("retention", "preview"),
        ("rules", "list"),
        ("rules", "report", "care"),
    ],
)
def test_what_lists_prints_json_for_programs(command: tuple[str, ...], tmp_path: Path) -> None:
    here = place(tmp_path / "d", f"sqlite:///{tmp_path / 'd' / 'store.sqlite'}")
    result = CliRunner().invoke(app, [*command, "--json", "--config", str(here.config)])
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)


def test_every_command_that_lists_or_shows_has_the_option() -> None:
    """Also those that training adds, which are loaded as `main` does."""
    from serving.cli import load_commands

    load_commands()

    def walk(command: object, path: str) -> list[str]:
        below = getattr(command, "commands", None)
        if below is not None:
            return [one for name, sub in below.items() for one in walk(sub, f"{path} {name}")]
        options = {flag for parameter in command.params for flag in parameter.opts}  # type: ignore[attr-defined]
        reads = path.split()[-1] in ("list", "show", "status", "tail", "report", "preview", "plan")
        return [path] if reads and "--json" not in options else []

    assert walk(get_command(app), "switchboard") == []
