import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from serving import parent_process
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
STARTS = f"""
import subprocess, sys
from serving import parent_process
subprocess.run(parent_process.command([sys.executable, "-c", {SLEEPS!r}]))
"""
READS = """
import threading, time
from serving import parent_process
threading.Thread(target=parent_process.exit_at_end_of_input).start()
time.sleep(600)
"""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_ends_when_the_process_that_runs_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _runs(pid)
        parent.kill()
        parent.wait()
        until(lambda: not _runs(pid), "the command has not ended")


def test_a_child_whose_parent_has_ended_already_ends_at_once() -> None:
    command = [sys.executable, "-m", "serving.parent_process", "1", str(int(signal.SIGTERM))]
    done = subprocess.run([*command, sys.executable, "-c", SLEEPS], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGTERM


def test_a_child_that_reads_its_input_ends_with_the_other_end() -> None:
    with subprocess.Popen([sys.executable, "-c", READS], stdin=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(timeout=60) == 1


async def test_a_child_that_does_not_end_when_asked_is_killed() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"{deaf}; time.sleep(600)", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    await parent_process.stop(child, within_s=0.2)
    assert child.returncode == -signal.SIGKILL
