"""A server under test: its processes, whether they run or are stopped, and what they cost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
START_S = 600
RESUME_S = 120
STOP_S = 40
SETTLE_S = 1.0
ENGINE = ("VLLM::EngineCore", "VLLM::Worker")


@dataclass
class Target:
    """A server under test.

    Attributes:
        name: As the results call it.
        commands: What starts it, one process each, in this order.
        url: Where it answers, without /v1.
        model: What clients ask for, in the workloads without adapters.
        adapters: What clients ask for to get each adapter; empty where it cannot serve them.
        key: Its API key; any value where it takes none.
        environment: Added to the processes' environment.
    """

    name: str
    commands: list[list[str]]
    url: str
    model: str
    adapters: list[str] = field(default_factory=list)
    key: str = "none"
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, log: Path) -> None:
        """Start it and wait until it answers; raises RuntimeError if it never does."""
        for command in self.commands:
            with log.open("ab") as file:
                self.processes.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        stdout=file,
                        stderr=file,
                        env=os.environ | self.environment,
                        start_new_session=True,
                    )
                )
        try:
            self.wait(START_S)
        except RuntimeError as exc:
            tail = log.read_text(errors="replace")[-1500:]
            raise RuntimeError(f"{self.name} did not start ({exc}):\n{tail}") from exc

    def wait(self, seconds: float) -> None:
        """Wait until it answers a completion; raises RuntimeError after so many seconds."""
        deadline = time.monotonic() + seconds
        body = {"model": self.model, "messages": [{"role": "user", "content": "hi"}]}
        last = ""
        while True:
            try:
                answer = httpx.post(
                    f"{self.url}/v1/chat/completions",
                    json=body | {"max_tokens": 1},
                    headers={"Authorization": f"Bearer {self.key}"},
                    timeout=30,
                )
                if answer.is_success:
                    return
                last = answer.text[:300]
            except httpx.TransportError as exc:
                last = repr(exc)
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError("a process ended")
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer in {seconds:g} s: {last}")
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop it and whatever it started."""
        tree = self.tree()
        self._signal(signal.SIGCONT, tree)
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        started = [p for p in tree if p.pid in {process.pid for process in self.processes}]
        psutil.wait_procs(started, timeout=STOP_S)
        for left in tree:
            try:
                left.kill()
            except psutil.NoSuchProcess:
                continue
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def pause(self) -> None:
        """Stop all its processes where they are, so that it costs no CPU at all."""
        self._signal(signal.SIGSTOP, self.tree())

    def resume(self) -> None:
        """Let it go on; returns when it answers again and has caught up with its timers."""
        self._signal(signal.SIGCONT, self.tree())
        self.wait(RESUME_S)
        time.sleep(SETTLE_S)

    def tree(self) -> list[psutil.Process]:
        """Its processes and all that they started."""
        found = []
        for process in self.processes:
            try:
                root = psutil.Process(process.pid)
                found += [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        return found

    def overhead(self) -> tuple[float, float]:
        """CPU seconds so far and resident MiB of everything but the engine's own processes."""
        seconds, resident = 0.0, 0.0
        for process in self.tree():
            try:
                if " ".join(process.cmdline()).startswith(ENGINE):
                    continue
                times = process.cpu_times()
                seconds += times.user + times.system
                resident += process.memory_info().rss / 2**20
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return seconds, resident

    def memory_mib(self) -> float:
        """Resident MiB of all of it, engine included; a shared page counts in part (PSS)."""
        found = 0.0
        for process in self.tree():
            try:
                found += process.memory_full_info().pss / 2**20
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    @staticmethod
    def _signal(number: int, tree: list[psutil.Process]) -> None:
        for process in tree:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
