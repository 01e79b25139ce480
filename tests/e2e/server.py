"""A running `switchboard serve`, and what tests do with it from outside."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openai
import psutil
import yaml

from serving import auth as keys
from serving.adapters.registry import Registry
from serving.auth import Role
from serving.config import prompts
from serving.config import settings as server_settings
from serving.store.database import Database
from tests.e2e import switchboard
from tests.postgres import Postgres
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
START_S = 900
STOP_S = 180
T = TypeVar("T")


def needs_servers(file: Path) -> bool:
    """Whether a test file uses the servers that `tests/e2e/` shares."""
    return file.parent.name == "e2e" and file.stem not in {"test_demo", "test_rolling"}


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
        until(self._ready, f"{self.url} is not ready", limit_s=START_S, every_s=0.25)

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            text = (self.config.parent / "server.log").read_text()[-6000:]
            self.process = None
            raise RuntimeError(f"the server did not start:\n{text}")
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/ready", timeout=60).status_code == 200
        return False

    def stop(self) -> None:
        """Stop it as an operator does."""
        if self.process is not None:
            tree = self.tree()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
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
            psutil.wait_procs(tree, timeout=STOP_S)
            self.process.wait()
            self.process = None

    def change(self, **changes: Any) -> None:
        """Change keys of its file, which it reads at its next start."""
        self.config.write_text(yaml.safe_dump(self.settings | changes))

    def cli(self, *arguments: str, key: str = "admin") -> switchboard.Done:
        """Run `switchboard …` against this server, in this process."""
        return switchboard.run(*arguments, environment=self._environment(key))

    def command(self, *arguments: str, key: str = "admin") -> subprocess.CompletedProcess[str]:
        """Run `switchboard …` against this server as a person does, in a process of its own."""
        return subprocess.run(
            [BIN / "switchboard", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | self._environment(key),
        )

    def _environment(self, key: str) -> dict[str, str]:
        return {
            "SWITCHBOARD_URL": self.url,
            "SWITCHBOARD_CONFIG": str(self.config),
            "SWITCHBOARD_API_KEY": self.keys.get(key, ""),
        }

    def body(self, config: dict[str, Any], name: str = "new.yaml") -> dict[str, Any]:
        """What `/v1/config` is asked to put a configuration in force."""
        path = self.config.parent / name
        path.write_text(yaml.safe_dump(config))
        loaded = server_settings.load(path)
        return {"settings": loaded.model_dump(mode="json"), "prompts": prompts.read(loaded.prompts)}

    def apply(self, **changes: Any) -> None:
        """Put its file with some keys changed in force, none of which restarts a replica."""
        with self.http("admin") as http:
            answer = http.post("/v1/config", json=self.body(self.settings | changes))
        assert answer.status_code == 200, answer.text
        assert answer.json()["apply"]["state"] == "applied", answer.text

    def create_keys(self, who: dict[str, tuple[list[Role], list[str]]]) -> None:
        """Create keys in its store, by name."""

        async def create(db: Database) -> None:
            for name, (roles, lobs) in who.items():
                self.keys[name], _ = await keys.create(db, name=name, roles=roles, lobs=lobs)

        with_store(self, create)

    def client(self, key: str = "service") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.keys[key], max_retries=0)

    def http(self, key: str | None = "service") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120)


@dataclass
class Lone:
    """The server of one replica, and what it stands on."""

    server: Server
    postgres: Postgres
    journal: Path


def with_registry(server: Server, action: Callable[[Registry], Awaitable[T]]) -> T:
    """Run something on the server's registry, from outside the server."""
    uri = server.settings["adapters"]["uri"]
    return with_store(server, lambda db: action(Registry(db, uri)))


def with_store(server: Server, action: Callable[[Database], Awaitable[T]]) -> T:
    """Run something on the server's store, from outside the server."""

    async def run() -> T:
        db = Database(server.settings["store"]["url"])
        await db.open()
        try:
            return await action(db)
        finally:
            await db.close()

    with ThreadPoolExecutor(1) as thread:  # the caller may itself run in an event loop
        return thread.submit(asyncio.run, run()).result()
