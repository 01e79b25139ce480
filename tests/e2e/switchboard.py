"""The `switchboard` command, run in this process: a process each would cost 2.4 s of imports."""

import contextlib
import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from unittest import mock

from serving import cli

_ONE_AT_A_TIME = threading.Lock()  # the streams and the environment are the process's


@dataclass(frozen=True)
class Done:
    """What a command left: as of `subprocess.run`."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, environment: dict[str, str]) -> Done:
    """Run the command's own entry point; in a thread, since the caller may run an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_run, arguments, environment).result()


def _run(arguments: tuple[str, ...], environment: dict[str, str]) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with (
        _ONE_AT_A_TIME,
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["switchboard", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
            code: object = 0
        except SystemExit as exc:
            code = exc.code
    return Done(
        code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue()
    )
