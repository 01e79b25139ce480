"""The audit of the lock: what fails it, and that the committed list passes."""

import datetime
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
TODAY = datetime.date(2026, 12, 1)
ADVISORY = """
[[advisory]]
what = "it answers to anybody"
packages = ["some-package"]
versions = "<2"
"""


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "docker/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def repository(folder: Path, audit: ModuleType, more: str, lock: str) -> Path:
    (folder / "docker").mkdir()
    (folder / "docker/lock-cpu.txt").write_text(lock)
    (folder / "pyproject.toml").write_text(
        '[project]\ndependencies = ["pinned[x]==1.0", "free>=1"]\n'
    )
    head = f'checked = 2026-11-25\nlock = "{audit.digest(lock)}"\n'
    (folder / "docker/audit.toml").write_text(head + more)
    return folder


LOCK = "some-package==1.5 \\\n    --hash=sha256:00\nother==3\n"


def test_a_version_in_a_listed_range_fails(tmp_path: Path, audit: ModuleType) -> None:
    assert audit.faults(repository(tmp_path, audit, ADVISORY, LOCK), TODAY) == [
        "some-package 1.5: it answers to anybody"
    ]


def test_what_the_project_pins_is_looked_at_too(tmp_path: Path, audit: ModuleType) -> None:
    more = ADVISORY.replace("some-package", "pinned")
    assert len(audit.faults(repository(tmp_path, audit, more, LOCK), TODAY)) == 1


@pytest.mark.parametrize(("until", "count"), [("2026-12-01", 0), ("2026-11-30", 1)])
def test_an_acceptance_ends(tmp_path: Path, audit: ModuleType, until: str, count: int) -> None:
    more = ADVISORY + f'accepted_until = {until}\nwhy = "nobody asks"\n'
    assert len(audit.faults(repository(tmp_path, audit, more, LOCK), TODAY)) == count


def test_a_lock_newer_than_the_list_fails(tmp_path: Path, audit: ModuleType) -> None:
    folder = repository(tmp_path, audit, ADVISORY, LOCK.replace("1.5", "2.0"))
    assert audit.faults(folder, TODAY) == []
    (folder / "docker/lock-cpu.txt").write_text(LOCK.replace("1.5", "2.1"))
    (fault,) = audit.faults(folder, TODAY)
    assert "the lock has changed since 2026-11-25" in fault


def test_the_committed_list_is_of_the_committed_lock(tmp_path: Path, audit: ModuleType) -> None:
    (tmp_path / "docker").mkdir()
    for name in ("pyproject.toml", "docker/lock-cpu.txt", "docker/audit.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    assert audit.faults(tmp_path, TODAY) == []
    lock = (tmp_path / "docker/lock-cpu.txt").read_text()
    assert len(audit.pins(lock, {})) > 200
    assert "://" not in lock, "an address of somebody's registry"
    unhashed = [
        block.split()[0]
        for block in lock.split("\n\n")[-1].split("\n")
        if "==" in block and not block.endswith("\\")
    ]
    assert unhashed == ["torch==2.13.0"]
