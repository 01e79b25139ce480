"""The command as a person runs it."""

import json
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli import app
from tests.serving.backup.conftest import Place, place


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "ray").mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))
    monkeypatch.setenv("HOOK", "https://hooks.example/T0P-S3CRET")
    found = place(tmp_path / "d", f"sqlite:///{tmp_path / 'd' / 'store.sqlite'}")
    found.config.write_text(found.config.read_text() + "env: {HF_TOKEN: '${HOOK}'}\n")
    return found


def test_faults_are_in_the_table_and_in_the_status(here: Place) -> None:
    result = CliRunner().invoke(app, ["doctor", "--config", str(here.config)])
    assert result.exit_code == 7, result.output
    for about in ("versions", "machine", "configuration", "server", "store", "keys", "disks"):
        assert about in result.output
    assert "keys create" in result.output


def test_programs_get_json(here: Place) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "--config", str(here.config)])
    found = {one["about"]: one for one in json.loads(result.stdout)["findings"]}
    assert found["keys"]["state"] == "fault"
    assert found["versions"]["facts"]["python"].startswith("3.")


def test_a_configuration_that_cannot_be_read_is_one_fault_among_the_rest(here: Place) -> None:
    here.config.write_text("modle: x\n")
    result = CliRunner().invoke(app, ["doctor", "--json", "--config", str(here.config)])
    found = {one["about"]: one for one in json.loads(result.stdout)["findings"]}
    assert "modle" in found["configuration"]["said"]
    assert found["versions"]["state"] == "ok"


def test_a_bundle_holds_no_secret_and_is_not_overwritten(here: Place, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    command = ["doctor", "--config", str(here.config), "--bundle", str(file)]
    CliRunner().invoke(app, command)
    with tarfile.open(file) as archive:
        names = archive.getnames()
        content = b"".join(archive.extractfile(name).read() for name in names)  # type: ignore[union-attr]
    assert {Path(name).name for name in names} >= {
        "findings.json",
        "packages.txt",
        "configuration.json",
    }
    assert b"T0P-S3CRET" not in content
    before = file.read_bytes()
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert file.read_bytes() == before
