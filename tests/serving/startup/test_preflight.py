"""Checks before a start: all faults together, and a home for who has none."""

import asyncio
import getpass
import os
import pwd
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from serving import ports
from serving.config import prompts
from serving.config import settings as settings_module
from serving.config.settings import Settings
from serving.encryption import keyring
from serving.errors import ConfigError
from serving.startup import preflight
from serving.store.database import Database
from tests.serving.engine.test_checkpoint import CONFIG
from tests.serving.redaction import pipelines

FILES = prompts.read(prompts.DEFAULT)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "config.json").write_text(str(CONFIG).replace("'", '"'))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    save_file({"a": np.zeros((4, 4), np.float16)}, folder / "model.safetensors")
    return folder


def write(tmp_path: Path, model: Path, **keys: Any) -> Settings:
    import yaml

    file = tmp_path / "two lines.yaml"
    file.write_text(yaml.safe_dump({"model": str(model), "lobs": {"care": None}} | keys))
    return settings_module.load(file)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_two_lines_pass_in_any_folder_and_make_what_is_needed(
    tmp_path: Path, model: Path, elsewhere: Path
) -> None:
    http = {"host": "127.0.0.1", "port": ports.free()}
    found = preflight.run(write(tmp_path, model, http=http), FILES, starting=True)
    assert (elsewhere / "data/switchboard.sqlite").is_file()
    assert (elsewhere / "data/journal").is_dir()
    text = "\n".join(found.lines())
    assert "engine.kv_cache_memory_bytes: " in text
    assert "engine.max_model_len: 512  (the model's)" in text


def test_a_check_makes_nothing(tmp_path: Path, model: Path, elsewhere: Path) -> None:
    preflight.run(write(tmp_path, model), FILES, starting=False)
    assert not list(elsewhere.iterdir())


def test_a_line_that_redacts_names_needs_their_pipeline(
    tmp_path: Path, model: Path, elsewhere: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(keyring.new_line("a"))
    storage = {"keys": {"file": str(keys)}, "names": str(tmp_path / "no pipeline")}
    lobs = {"care": {"store": {"redact": True, "names": True}}}
    with pytest.raises(ConfigError, match=r"storage\.names: the spaCy pipeline .* no such folder"):
        preflight.run(write(tmp_path, model, lobs=lobs, storage=storage), FILES, starting=False)
    storage["names"] = pipelines.save(tmp_path / "names", "Maria Lopez")
    preflight.run(write(tmp_path, model, lobs=lobs, storage=storage), FILES, starting=False)


def test_all_faults_come_together(tmp_path: Path, model: Path, elsewhere: Path) -> None:
    (model / "model.safetensors").write_bytes(b"x" * 100)
    (elsewhere / "file").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        keys = {
            "engine": {"max_model_lenn": 5},
            "http": {"host": "127.0.0.1", "port": taken.getsockname()[1]},
            "journal": {"dir": str(elsewhere / "file" / "journal")},
        }
        with pytest.raises(ConfigError) as refused:
            preflight.run(write(tmp_path, model, **keys), FILES, starting=True)
    for part in ("4 fault(s)", "max_model_lenn", "is corrupt", "http.port", "journal.dir"):
        assert part in refused.value.message


@pytest.mark.parametrize("by", ["ray_address", "RAY_ADDRESS"])
def test_a_check_refuses_haproxy_s_tls_on_a_cluster(
    tmp_path: Path, model: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379" if by == "RAY_ADDRESS" else "")
    keys: dict[str, Any] = {"ray_address": "auto"} if by == "ray_address" else {}
    tls = {"certificate": str(tmp_path / "none.pem"), "key": str(tmp_path / "none.pem")}
    with pytest.raises(ConfigError, match=r"http\.tls: .*load balancer"):
        preflight.run(write(tmp_path, model, http={"tls": tls}, **keys), FILES, starting=False)


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "text.sqlite"
    file.write_text("this is no database " * 100)

    async def start() -> None:
        db = Database(f"sqlite:///{file}")
        try:
            await db.open_at_start()
        finally:
            await db.close()

    with pytest.raises(ConfigError, match=r"store\.url.*not a database"):
        asyncio.run(start())


def test_a_user_without_an_entry_gets_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(_: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    made = preflight.give_a_home()
    assert made is not None
    assert Path.home() == Path(made)
    assert getpass.getuser(), "torch asks for it"
    Path(made).rmdir()


def test_a_home_that_is_there_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert preflight.give_a_home() is None
    assert os.environ["HOME"] == str(tmp_path)
