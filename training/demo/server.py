"""The demo's server: `switchboard serve` as a child process, which never outlives the demo."""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx

from serving import parent_process
from training.errors import EvaluationFailed

START_S = 300.0
STOP_S = 40.0


class DemoServer:
    """The server, started on entry and stopped on exit, also when its start is interrupted.

    Args:
        config: Its configuration file.
        url: Where it answers, without /v1.
        log: The file that takes what it prints.
    """

    def __init__(self, config: Path, url: str, log: Path) -> None:
        self._config = config
        self._url = url
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.start_s = 0.0

    async def __aenter__(self) -> "DemoServer":
        started = time.monotonic()
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *parent_process.command(
                    [sys.executable, "-P", "-m", "serving.cli", "serve", str(self._config)]
                ),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # a terminal's Ctrl-C is for us; we stop it in order
            )
        try:
            await self._ready(started)
        except BaseException:
            await self.__aexit__()
            raise
        self.start_s = time.monotonic() - started
        return self

    async def _ready(self, started: float) -> None:
        """Wait until it answers.

        Raises:
            EvaluationFailed: It ended instead, or took too long; with what it printed last.
        """
        async with httpx.AsyncClient(timeout=10) as http:
            while True:
                try:
                    if (await http.get(f"{self._url}/ready")).is_success:
                        return
                except httpx.TransportError:
                    pass
                ended = self._process is None or self._process.returncode is not None
                if ended or time.monotonic() - started > START_S:
                    tail = self._log.read_text(errors="replace")[-3000:]
                    raise EvaluationFailed(f"The server did not start:\n{tail}")
                await asyncio.sleep(0.3)

    async def __aexit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            await parent_process.stop(process, STOP_S)
