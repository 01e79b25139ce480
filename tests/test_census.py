"""Engines and Rays that a run starts are counted, and too many fail it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import census
from tests.census import ENGINES, RAYS, Census
from tests.waiting import until

ROOT = Path(__file__).parent.parent
CONFTEST = """
from tests import census
from tests.conftest import pytest_runtestloop, pytest_terminal_summary

census.is_ray = lambda command: command.startswith("pretended ray")
"""
TEST = """
import atexit, shutil, subprocess

def test_starts():
    for _ in range({number}):  # Popen returns when the child has its new name
        started = subprocess.Popen(["pretended ray", "600"], executable=shutil.which("sleep"))
        atexit.register(started.kill)
"""


@pytest.mark.parametrize(
    ("command", "engine", "ray"),
    [
        ("VLLM::EngineCore", True, False),
        ("/usr/bin/python /kernels/tests/engine_session.py /tmp/on", True, False),
        ("/site-packages/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp/ray", False, True),
        ("ray::ServeReplica:switchboard:replica", False, False),
        ("/ray/raylet/raylet --gcs-address=/gcs_server", False, False),
    ],
)
def test_engines_and_rays_are_known_by_their_commands(
    command: str, engine: bool, ray: bool
) -> None:
    assert (census.is_engine(command), census.is_ray(command)) == (engine, ray)


def test_a_process_is_counted_once_and_still_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(census, "is_engine", lambda command: command.startswith("pretended engine"))
    process = subprocess.Popen(["bash", "-c", "exec -a 'pretended engine' sleep 600"])
    found = Census()

    def seen() -> list[int]:
        found.count()
        return [pid for pid, _ in found.engines]

    until(seen, "it is not seen")
    process.kill()
    process.wait()
    assert seen() == [process.pid]


def test_a_child_that_an_engine_forks_is_not_another_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(census, "is_engine", lambda command: command.startswith("pretended engine"))
    fork = 'import os, time; os.write(1, b"%d \\n" % os.fork()); time.sleep(600)'
    with subprocess.Popen(
        ["bash", "-c", f"exec -a 'pretended engine' {sys.executable} -c '{fork}'"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            child = max(int(process.stdout.readline()) for _ in range(2))
            found = Census()
            found.count()
            os.kill(child, signal.SIGKILL)
        finally:
            process.kill()
    assert [pid for pid, _ in found.engines] == [process.pid]


def test_more_than_the_bounds_are_too_many() -> None:
    found = Census()
    found.engines = {(pid, 0.0) for pid in range(ENGINES)}
    found.rays = {(pid, 0.0) for pid in range(RAYS)}
    assert not found.exceeds()
    assert f"{ENGINES} engines and {RAYS} Rays" in found.said()
    found.rays.add((RAYS, 0.0))
    assert found.exceeds()


def test_a_run_that_starts_too_many_fails_and_says_so(tmp_path: Path) -> None:
    number = RAYS + 1
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST.format(number=number))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert f"0 engines and {number} Rays were started" in done.stdout
