"""The servers that are compared, each started as its users start it, with one engine's settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

ROOT = Path(__file__).parents[2]
START_S = 600
ENGINE = ("VLLM::EngineCore", "VLLM::Worker")


@dataclass
class Target:
    """A server under test.

    Attributes:
        name: As the results call it.
        command: What starts it.
        url: Where it answers, without /v1.
        key: Its API key; any value where it takes none.
        model: What its clients ask for.
        environment: Added to the process's environment.
    """

    name: str
    command: list[str]
    url: str
    key: str
    model: str
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, log: Path) -> None:
        """Start it and wait until it answers a completion."""
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=os.environ | self.environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        body = {"model": self.model, "messages": [{"role": "user", "content": "hi"}]}
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
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start; see {log}")
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop it and whatever it started."""
        if self.process is None:
            return
        tree = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([psutil.Process(self.process.pid)], timeout=45)
        for process in [*alive, *tree]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def overhead(self) -> tuple[float, float]:
        """CPU seconds so far and resident MiB of everything but the engine's own processes."""
        if self.process is None:
            return 0.0, 0.0
        root = psutil.Process(self.process.pid)
        seconds, resident = 0.0, 0.0
        for process in [root, *root.children(recursive=True)]:
            try:
                if " ".join(process.cmdline()).startswith(ENGINE):
                    continue
                times = process.cpu_times()
                seconds += times.user + times.system
                resident += process.memory_info().rss / 2**20
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return seconds, resident


def vllm(config: dict[str, Any], flags: list[str], port: int) -> Target:
    """Bare `vllm serve`, without a proxy or a key."""
    module = "vllm.entrypoints.openai.api_server"
    return Target(
        "vllm",
        [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), *flags],
        f"http://127.0.0.1:{port}",
        "none",
        config["served_name"],
        dict(config["env"]),
    )


def switchboard(config: dict[str, Any], folder: Path, port: int, proxy: str) -> Target:
    """Switchboard with everything on: keys, routing by line of business, capture, metrics."""
    folder.mkdir()
    content = config | {
        "http": {"host": "127.0.0.1", "port": port, "proxy": proxy},
        "store": {"url": f"sqlite:///{folder / 'store.sqlite'}"},
        "journal": {"dir": str(folder / "journal")},
    }
    content["adapters"] = config["adapters"] | {"uri": str(folder / "adapters")}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    switchboard_cli = [sys.executable, "-m", "serving.cli"]
    key = subprocess.run(
        [*switchboard_cli, "keys", "create", "--config", file, "--name", "b", "--role", "service"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return Target(
        "switchboard" if proxy == "haproxy" else f"switchboard_{proxy}",
        [*switchboard_cli, "serve", str(file)],
        f"http://127.0.0.1:{port}",
        key,
        next(iter(config["lobs"])),
    )
