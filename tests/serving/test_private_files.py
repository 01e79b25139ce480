"""What the server writes is for its own user."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import private_files
from serving.config.settings import Settings
from serving.errors import ConfigError
from serving.startup import preflight
from serving.store.database import Database


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


async def test_a_process_of_ours_writes_for_its_user_only(tmp_path: Path) -> None:
    private_files.keep()
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    async with db.session():
        names = os.listdir(tmp_path)
    assert len(names) >= 2, "the WAL too"
    assert {mode(tmp_path / name) for name in names} == {0o600}
    await db.close()


def test_what_is_open_is_closed_to_others_and_said(tmp_path: Path) -> None:
    opened, grouped = tmp_path / "open", tmp_path / "grouped"
    opened.write_text("")
    grouped.write_text("")
    opened.chmod(0o644)
    grouped.chmod(0o640)
    (line,) = private_files.close([opened, grouped, tmp_path / "missing"])
    assert "mode 644" in line
    assert (mode(opened), mode(grouped)) == (0o640, 0o640)


def test_the_store_the_journal_and_the_adapters_are_looked_at(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "model": "m",
            "lobs": {"care": {}},
            "store": {"url": f"sqlite:///{tmp_path}/shared/store.sqlite"},
            "journal": {"dir": tmp_path / "journal"},
            "adapters": {"uri": str(tmp_path / "adapters")},
            "files": {"uri": str(tmp_path / "files")},
        }
    )
    names = {path.name for path in preflight._private(settings)}
    assert names == {
        "journal",
        "adapters",
        "files",
        "store.sqlite",
        "store.sqlite-wal",
        "store.sqlite-shm",
        "auth_token",
    }


def test_a_folder_in_tmp_must_be_ours(tmp_path: Path) -> None:
    folder = private_files.private_folder(tmp_path / "mine")
    folder.chmod(0o777)
    assert mode(private_files.private_folder(folder)) == 0o700
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="another user"):
        private_files.private_folder(link)
