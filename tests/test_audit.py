"""The audit of the lock: what fails it, and that the committed list passes."""

import datetime
import re
import shutil
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests import scripts

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
    return scripts.load("docker/audit.py", "audit")


def repository(folder: Path, audit: ModuleType, more: str, lock: str) -> Path:
    (folder / "docker").mkdir()
    (folder / "docker/lock-cpu.txt").write_text(lock)
    (folder / "docker/lock-gpu.txt").write_text(GPU_LOCK)
    (folder / "pyproject.toml").write_text(
        '[project]\ndependencies = ["pinned[x]==1.0", "free>=1"]\n'
    )
    digests = f'cpu = "{audit.digest(lock)}", gpu = "{audit.digest(GPU_LOCK)}"'
    head = f"checked = 2026-11-25\nlocks = {{ {digests} }}\n"
    (folder / "docker/audit.toml").write_text(head + more)
    return folder


LOCK = "some-package==1.5 \\\n    --hash=sha256:00\nother==3\n"
GPU_LOCK = "other==3\nonly-gpu==0.9\n"


def test_a_version_in_a_listed_range_fails(tmp_path: Path, audit: ModuleType) -> None:
    assert audit.faults(repository(tmp_path, audit, ADVISORY, LOCK), TODAY) == [
        "some-package 1.5: it answers to anybody"
    ]


def test_what_only_the_gpu_s_lock_holds_is_looked_at_too(tmp_path: Path, audit: ModuleType) -> None:
    more = ADVISORY.replace("some-package", "only-gpu")
    assert audit.faults(repository(tmp_path, audit, more, LOCK), TODAY) == [
        "only-gpu 0.9: it answers to anybody"
    ]


def test_what_the_project_pins_is_looked_at_too(tmp_path: Path, audit: ModuleType) -> None:
    more = ADVISORY.replace("some-package", "pinned")
    assert len(audit.faults(repository(tmp_path, audit, more, LOCK), TODAY)) == 1


@pytest.mark.parametrize(("until", "count"), [("2026-12-01", 0), ("2026-11-30", 1)])
def test_an_acceptance_ends(tmp_path: Path, audit: ModuleType, until: str, count: int) -> None:
    more = ADVISORY + f'accepted_until = {until}\nwhy = "nobody asks"\n'
    assert len(audit.faults(repository(tmp_path, audit, more, LOCK), TODAY)) == count


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_lock_newer_than_the_list_fails(tmp_path: Path, audit: ModuleType, name: str) -> None:
    folder = repository(tmp_path, audit, "advisory = []\n", LOCK)
    assert audit.faults(folder, TODAY) == []
    lock = folder / f"docker/lock-{name}.txt"
    lock.write_text(lock.read_text().replace("other==3", "other==3.1"))
    (fault,) = audit.faults(folder, TODAY)
    assert fault.startswith(f"docker/lock-{name}.txt has changed since 2026-11-25")


def test_the_committed_list_is_of_the_committed_locks(tmp_path: Path, audit: ModuleType) -> None:
    (tmp_path / "docker").mkdir()
    locks = {name: f"docker/lock-{name}.txt" for name in ("cpu", "gpu")}
    for name in ("pyproject.toml", "docker/audit.toml", *locks.values()):
        shutil.copy(ROOT / name, tmp_path / name)
    assert audit.faults(tmp_path, TODAY) == []
    # torch's build without CUDA is not the file that the same version names elsewhere.
    for name, without_hash in (("cpu", ["torch==2.13.0"]), ("gpu", [])):
        lock = (tmp_path / locks[name]).read_text()
        assert len(audit.pins(lock, {})) > 200
        assert "://" not in lock, "an address of somebody's registry"
        pinned = re.findall(
            r"^(\S+==\S+)( \\\n    --hash=sha256:[0-9a-f]{64})?", lock, re.MULTILINE
        )
        assert [pin for pin, hashed in pinned if not hashed] == without_hash


def test_the_locks_hold_the_project_s_own_pins(audit: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for name in ("cpu", "gpu"):
        asked = [*project["dependencies"], *extras[name], *extras["train"]]
        lock = audit.pins((ROOT / f"docker/lock-{name}.txt").read_text(), {})
        for requirement in map(Requirement, asked):
            if requirement.name != "switchboard-kernels":
                (version,) = lock[requirement.name.lower()]
                assert version in requirement.specifier, (name, requirement)
