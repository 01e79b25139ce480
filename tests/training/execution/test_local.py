"""The process around a job, with stand-ins for the slow trainer inside it."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S
from training.errors import FineTuneFailed
from training.execution.local import Worker
from training.trainers.job import Job


def job(tmp_path: Path) -> Job:
    return Job("care", "base", "h", "d", "train.jsonl", str(tmp_path / "out"), {})


def stand_in(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code))


def gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


async def test_a_process_that_dies_is_an_error_and_the_next_job_gets_a_new_one(
    tmp_path: Path,
) -> None:
    async with Worker(stand_in("import os; input(); os.kill(os.getpid(), 9)")) as worker:
        for _ in range(2):
            with pytest.raises(FineTuneFailed, match="killed by signal 9"):
                await worker.train(job(tmp_path))


async def test_a_process_that_ends_is_an_error(tmp_path: Path) -> None:
    async with Worker(stand_in("input(); raise SystemExit(4)")) as worker:
        with pytest.raises(FineTuneFailed, match="ended with status 4"):
            await worker.train(job(tmp_path))


async def test_a_refused_job_is_the_trainers_own_message(tmp_path: Path) -> None:
    async with Worker(stand_in("""input(); print('{"error": "no"}', flush=True)""")) as worker:
        with pytest.raises(FineTuneFailed, match=r"^no$"):
            await worker.train(job(tmp_path))


async def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    async with Worker(stand_in("input(); import time; time.sleep(600)")) as worker:
        running = asyncio.create_task(worker.train(job(tmp_path)))
        await asyncio.sleep(0.2)
        pid = worker.pid
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert pid is not None
        assert gone(pid)


async def test_leaving_ends_the_process() -> None:
    async with Worker(stand_in("import time; time.sleep(600)")) as worker:
        pid = worker.pid
    assert pid is not None
    assert gone(pid)


def test_the_real_process_ends_when_its_parent_is_killed() -> None:
    code = """
        import asyncio, sys
        from training.execution.local import Worker

        async def main():
            async with Worker() as worker:
                print(worker.pid, flush=True)
                await asyncio.sleep(600)

        asyncio.run(main())
    """
    parent = subprocess.Popen(
        stand_in(code), stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root()}
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def root() -> str:
    return str(Path(__file__).parents[3])
