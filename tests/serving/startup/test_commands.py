"""`switchboard init`: a file that loads, and never one that is overwritten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.config import settings
from serving.errors import ConfigError
from serving.startup import commands


def test_the_first_configuration_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands.init(model="owner/Some-Model_1.5", lob=["care", "sales"], config=Path("my.yaml"))
    loaded = settings.load("my.yaml")
    assert loaded.model == "owner/Some-Model_1.5"
    assert list(loaded.lobs) == ["care", "sales"]
    assert loaded.prompts.is_dir()


def test_what_it_comments_out_is_valid_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "x")
    file = tmp_path / "my.yaml"
    commands.init(model="owner/model", lob=["care"], config=file)
    _, _, keys = file.read_text().partition("model: ")
    lines = [line.replace("# ", "", 1) for line in f"model: {keys}".splitlines()]
    file.write_text("\n".join(line for line in lines if not line.startswith(("The", "A H"))))
    loaded = settings.load(file)
    assert loaded.lobs["care"].guidelines.strip()
    assert loaded.engine["max_num_seqs"] == 32
    assert loaded.http.host == "127.0.0.1"


def test_a_file_that_exists_stays(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        commands.init(model="m", lob=["care"], config=file)
    assert file.read_text() == "mine"


def test_a_name_that_is_no_line_of_business_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--lob 'Care!'"):
        commands.init(model="m", lob=["Care!"], config=tmp_path / "my.yaml")
    assert not list(tmp_path.iterdir())


def test_commands_read_utf8_in_a_c_locale(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("model: ./nirgendwö\nlobs: {care: }\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "serving.cli", "serve", str(file), "--check"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "nirgendwö' holds no config.json".encode() in done.stderr
