"""The process that trains, seen from both sides.

Training runs in a process of its own: it holds the cores, the memory and the libraries' global
state only while it lasts, it can be stopped at any moment, and the caller's event loop stays free.

`python -m training.execution.local` reads the paths of job files from its standard input, one a
line, and answers each with a line of JSON. Importing the training stack takes longer than a small
fine-tune, so one process does several jobs, and may be started while something else is still going
on. When its input closes, as when its parent is killed, it ends at once. Nothing but the registry
makes a version, so whatever it leaves behind is inert.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from serving import parent_process
from training.errors import FineTuneFailed, TooLittleData, WorkerLost
from training.execution import accelerate
from training.trainers import cpu, stages
from training.trainers.job import Job, Result

MODULE = (sys.executable, "-m", "training.execution.local")
_LINE_LIMIT_BYTES = 1 << 26


class Worker:
    """A training process, started on entry; it loads its libraries while no job has come yet.

    Example::

        async with Worker() as worker:
            result = await worker.train(job)
    """

    def __init__(self, command: Sequence[str] = MODULE) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=_environment(),
                limit=_LINE_LIMIT_BYTES,
            )

    async def train(self, job: Job) -> Result:
        """Run a job; jobs wait for one another.

        A caller that is cancelled while its job runs ends the process, and the job with it.

        Raises:
            FineTuneFailed: The job failed, or the process died.
            TooLittleData: There is too little for the job's method.
        """
        async with self._turn:
            await self.start()
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise FineTuneFailed("the training process did not start")
            try:
                process.stdin.write(f"{_write(job)}\n".encode())
                line = await process.stdout.readline()
            except BaseException:
                await self.close()
                raise
            if not line:
                code = await process.wait()
                self._process = None
                how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
                raise WorkerLost(f"{job.lob}: the training process {how}")
        answer = json.loads(line)
        if "error" in answer:
            kind = TooLittleData if answer.get("too_little_data") else FineTuneFailed
            raise kind(answer["error"])
        return Result(**answer["result"])

    async def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def _write(job: Job) -> Path:
    """Write a job's file into its folder."""
    file = Path(job.out).absolute() / "job.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(job), indent=1) + "\n", encoding="utf-8")
    return file


def _environment() -> dict[str, str]:
    """Return an environment in which the child hashes as every run does, and waits idly."""
    return {
        **os.environ,
        **cpu.thread_environment(),
        # Started in the repository, it would take our folder `kernels` for Hugging Face's package.
        "PYTHONSAFEPATH": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


def _serve() -> None:
    """Do the jobs named on standard input until it closes: the child's side."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print; only answers go to our standard output
    pending: list[str] = []
    arrived = threading.Condition()

    def read() -> None:
        for line in sys.stdin:
            with arrived:
                pending.append(line.strip())
                arrived.notify()
        parent_process.exit_at_end_of_input()

    threading.Thread(target=read, daemon=True).start()
    import trl.trainer.sft_trainer  # noqa: F401 - the slow part, while the first job is prepared

    while True:
        with arrived:
            arrived.wait_for(lambda: bool(pending))
            path = pending.pop(0)
        answers.write(json.dumps(_do(Path(path))) + "\n")
        answers.flush()


def _do(path: Path) -> dict[str, Any]:
    """Do one job, in this process or in several."""
    launch = json.loads(path.read_text(encoding="utf-8"))["recipe"].get("launch") or {}
    config = launch.get("accelerate_config")
    return accelerate.run(path, config) if config else stages.answer(path)


if __name__ == "__main__":
    _serve()
