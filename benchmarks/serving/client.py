"""vLLM's own benchmark client (`vllm bench serve`), imported once and forked for every run.

Importing it takes 10 s, more than a run. The child is a fresh copy each time, so that no run
leaves state to the next. Started as a process of its own, it reads one JSON list of arguments a
line and answers with one JSON object a line: the exit ``status`` and the ``cpu_s`` it used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple

LIMIT_S = 600


class Run(NamedTuple):
    """What a run gave: the client's own JSON, and the CPU seconds that the client used."""

    result: dict[str, Any]
    cpu_s: float


class Client:
    """The client's process, as the benchmark sees it; a context manager.

    Args:
        log: Where its output goes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> Client:
        self._file = self._log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._file,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._file.close()

    def run(self, arguments: list[str], key: str) -> Run:
        """Drive a server once.

        Args:
            arguments: Of `vllm bench serve`.
            key: The server's API key.

        Raises:
            RuntimeError: The client failed; its last output is in the message.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the client was not started")
        start = self._log.stat().st_size
        with tempfile.TemporaryDirectory() as folder:
            saved = ["--save-result", "--result-dir", folder, "--result-filename", "result.json"]
            request = {"arguments": [*arguments, *saved], "key": key}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or '{"status": -1, "cpu_s": 0}')
            file = Path(folder) / "result.json"
            if answer["status"] == 0 and file.exists():
                return Run(json.loads(file.read_text()), answer["cpu_s"])
        with self._log.open("rb") as log:
            log.seek(start)
            tail = log.read().decode(errors="replace")[-1500:]
        raise RuntimeError(f"the client ended with status {answer['status']}:\n{tail}")


def serve() -> None:
    """Answer requests on standard input until it closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints and logs to standard output; that belongs in the log
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.alarm(LIMIT_S)
            os.environ["OPENAI_API_KEY"] = request["key"]
            status = 1
            try:
                parser = FlexibleArgumentParser()
                add_cli_args(parser)
                main(parser.parse_args(request["arguments"]))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)  # the child must never read the parent's input
        _, status, usage = os.wait4(pid, 0)
        cpu_s = usage.ru_utime + usage.ru_stime
        answers.write(json.dumps({"status": status, "cpu_s": cpu_s}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
