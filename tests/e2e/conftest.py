"""One real server for the session: two replicas, the real engine, the demo's base model."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openai
import psutil
import pytest
import yaml

from serving import ports
from serving.registry import Registry
from serving.store.database import Database
from tests import versions

ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / ".cache" / "switchboard" / "demo-base"
OTHER_BASE = os.environ.get("SWITCHBOARD_TEST_BASE")  # any other checkpoint, to test with it
BIN = Path(sys.executable).parent
START_S = 420
T = TypeVar("T")


@dataclass
class Server:
    """A running `switchboard serve` and what a client needs of it."""

    config: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load(self.config.read_text())
        return loaded

    def start(self) -> None:
        command = [BIN / "switchboard", "serve", self.config]
        with (self.config.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                if httpx.get(f"{self.url}/ready", timeout=15).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.config.parent / "server.log").read_text()[-6000:]
                self.kill()
                raise RuntimeError(f"the server did not start:\n{text}")
            time.sleep(0.25)

    def stop(self) -> None:
        """Stop it as an operator does."""
        if self.process is not None:
            tree = self.tree()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill(tree)
            self.process = None

    def tree(self) -> list[psutil.Process]:
        """The server's processes: driver, Ray, proxy, replicas, engines."""
        if self.process is None or self.process.poll() is not None:
            return []
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def kill(self, tree: list[psutil.Process] | None = None) -> None:
        """`kill -9` all of it at once."""
        if self.process is not None:
            tree = tree or self.tree()
            for process in tree:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(tree, timeout=30)
            self.process.wait()
            self.process = None

    def cli(self, *arguments: str, key: str = "admin") -> subprocess.CompletedProcess[str]:
        """Run `switchboard …` against this server."""
        environment = {
            **os.environ,
            "SWITCHBOARD_URL": self.url,
            "SWITCHBOARD_CONFIG": str(self.config),
            "SWITCHBOARD_API_KEY": self.keys.get(key, ""),
        }
        return subprocess.run(
            [BIN / "switchboard", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=300,
        )

    def create_key(self, name: str, *arguments: str) -> str:
        done = self.cli("keys", "create", "--name", name, *arguments)
        assert done.returncode == 0, done.stderr
        self.keys[name] = done.stdout.strip()
        return self.keys[name]

    def client(self, key: str = "service") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.keys[key], max_retries=0)

    def http(self, key: str | None = "service") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The demo's base model, made the first time, unless SWITCHBOARD_TEST_BASE names another."""
    if OTHER_BASE:
        return Path(OTHER_BASE)
    from training.demo_model import make_base_model

    make_base_model(BASE)
    return BASE


@pytest.fixture(scope="session")
def make_server(base_model: Path) -> Callable[..., Server]:
    """A function that writes a configuration in a folder; the caller starts and stops it."""

    def make(folder: Path, *, replicas: int = 1, proxy: str = "haproxy", **changes: Any) -> Server:
        port = ports.free()
        settings: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())
        settings |= {
            "model": str(base_model),
            "replicas": replicas,
            "prompts": str(ROOT / "configs" / "prompts"),
            "http": {"host": "127.0.0.1", "port": port, "proxy": proxy},
            "store": {"url": f"sqlite:///{folder / 'store.sqlite'}"},
            "journal": {"dir": str(folder / "journal")},
            "adapters": {"uri": str(folder / "adapters"), "max_rank": 16, "max_active": 4},
        }
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings | changes))
        server = Server(config, port)
        for name, arguments in {
            "admin": ["--role", "admin"],
            "service": ["--role", "service"],
            "trainer": ["--role", "trainer"],
            "care-only": ["--role", "service", "--lob", "care"],
            "agent": ["--role", "agent"],
        }.items():
            server.create_key(name, *arguments)
        return server

    return make


@pytest.fixture(scope="session")
def server(
    make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The session's server, with two replicas."""
    made = make_server(tmp_path_factory.mktemp("server"), replicas=2)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def register(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that registers a random adapter as a candidate and returns its name."""
    seeds = iter(range(1000))

    def make(server: Server, lob: str, *, rank: int = 8, strength: float = 1.0) -> str:
        folder = tmp_path_factory.mktemp("adapter")
        seed = next(seeds)

        async def run(registry: Registry) -> str:
            return await versions.register_random(
                registry, folder, base_model, lob, seed=seed, rank=rank, strength=strength
            )

        return with_registry(server, run)

    return make


def with_registry(server: Server, action: Callable[[Registry], Awaitable[T]]) -> T:
    """Run something on the server's registry, from outside the server."""

    async def run() -> T:
        db = Database(server.settings["store"]["url"])
        await db.open()
        try:
            return await action(Registry(db, server.settings["adapters"]["uri"]))
        finally:
            await db.close()

    with ThreadPoolExecutor(1) as thread:  # the caller may itself run in an event loop
        return thread.submit(asyncio.run, run()).result()
