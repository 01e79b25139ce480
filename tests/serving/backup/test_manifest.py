"""A backup is whole, or it is refused."""

import json
from pathlib import Path

import pytest

from serving.backup import manifest
from serving.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "backup"
    (found / "adapters" / "care" / "1").mkdir(parents=True)
    (found / "store.sqlite").write_bytes(b"rows")
    (found / "adapters" / "care" / "1" / "weights").write_bytes(b"weights")
    made = manifest.Manifest(
        release="0.1.0",
        revision="0013",
        store="sqlite",
        began_at="2026-11-27T12:00:00+00:00",
        ended_at="2026-11-27T12:00:01+00:00",
        versions=[manifest.Version(lob="care", number=1, manifest_hash="0f" * 32)],
        files=[],
        sha256=manifest.hashes(found),
    )
    (found / manifest.FILE).write_text(made.model_dump_json())
    return found


def test_a_whole_backup_is_read(folder: Path) -> None:
    found = manifest.read(folder)
    assert sorted(found.sha256) == ["adapters/care/1/weights", "store.sqlite"]
    assert found.versions[0].path == "adapters/care/1"


def test_a_changed_byte_is_named(folder: Path) -> None:
    (folder / "adapters" / "care" / "1" / "weights").write_bytes(b"Weights")
    with pytest.raises(ConfigError, match="care/1/weights was changed"):
        manifest.read(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "store.sqlite").unlink()
    with pytest.raises(ConfigError, match=r"store\.sqlite is missing"):
        manifest.read(folder)


def test_a_file_too_many_is_named(folder: Path) -> None:
    (folder / "adapters" / "more").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds adapters/more"):
        manifest.read(folder)


def test_a_link_is_refused(folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="nothing that a backup holds"):
        manifest.read(folder)


def test_a_folder_without_a_manifest_is_no_backup(folder: Path) -> None:
    (folder / manifest.FILE).unlink()
    with pytest.raises(ConfigError, match="no whole backup"):
        manifest.read(folder)


def test_a_newer_form_is_refused(folder: Path) -> None:
    text = json.loads((folder / manifest.FILE).read_text())
    (folder / manifest.FILE).write_text(json.dumps(text | {"format": 2}))
    with pytest.raises(ConfigError, match="format"):
        manifest.read(folder)
