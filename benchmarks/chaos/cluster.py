"""The server under the drills: its own PostgreSQL, two replicas, adapters, and its processes."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from environment import commit, environment, now  # noqa: E402

from serving import ports  # noqa: E402
from serving.adapters.registry import Registry  # noqa: E402
from serving.auth import ALL, Role  # noqa: E402
from tests.e2e.server import Server, with_registry  # noqa: E402
from tests.postgres import Postgres, binaries  # noqa: E402
from tests.versions import register_random  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "chaos"
LOB = "care"
TITLES = {  # how the command line of each begins
    "replica": "ray::ServeReplica:",
    "engine_core": "VLLM::EngineCore",
    "controller": "ray::ServeController",
    "proxy_actor": "ray::HAProxyManager",
    "coordinator": "ray::CoordinatorActor",
    "haproxy": "haproxy",
}


@dataclass
class Cluster:
    """A running server with `versions` of one line of business, the first of them live."""

    server: Server
    postgres: Postgres
    versions: list[str]
    sqlite: Path | None = None
    """The store's file, where that is SQLite."""

    def processes(self, role: str) -> list[psutil.Process]:
        """The living processes of a role, as `TITLES` names them, oldest first."""
        found = []
        for process in self.server.tree():
            try:
                words = process.cmdline()
                alive = process.status() != psutil.STATUS_ZOMBIE
                name = Path(words[0]).name if role == "haproxy" and words else " ".join(words)
            except psutil.NoSuchProcess:
                continue
            if alive and name.startswith(TITLES[role]):
                found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def replicas(self, polls: int = 8) -> set[str]:
        """The names of the replicas that answer the health page now."""
        names = set()
        for _ in range(polls):
            try:  # a connection each, as HAProxy spreads them
                page = httpx.get(f"{self.server.url}/health", timeout=5)
                if page.status_code == 200:
                    names.add(page.json()["replica"])
            except (httpx.TransportError, ValueError):
                continue
        return names

    def wait_for_replicas(
        self, count: int, without: set[str] = frozenset(), s: float = 240
    ) -> set[str]:
        """Wait until `count` replicas answer, none of them in `without`; returns their names."""
        deadline = time.monotonic() + s
        while len(names := self.replicas() - without) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(names)} of {count} replicas answer after {s:g} s")
            time.sleep(0.1)
        return names

    def promote(self, version: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """Make a version live; returns the rollout, or raises `httpx.HTTPError`."""
        with self.server.http("admin") as http:
            answer = http.post(f"/v1/adapters/{version}/promote", json={}, timeout=timeout_s)
            return dict(answer.raise_for_status().json())

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def rows(self, table: str, key: str, value: str, keys: list[str]) -> list[tuple[Any, Any]]:
        """Return (`key`, `value`) of a table's rows whose `key` is among `keys`."""
        asked = f"SELECT {key}, {value} FROM {table} WHERE {key}"
        if self.sqlite is None:
            return self.sql(f"{asked} = ANY(%s)", keys)
        with contextlib.closing(sqlite3.connect(f"file:{self.sqlite}?mode=ro", uri=True)) as read:
            listed = "IN (SELECT value FROM json_each(?))"
            return read.execute(f"{asked} {listed}", (json.dumps(keys),)).fetchall()


@contextmanager
def running(
    versions: int = 2,
    replicas: int = 2,
    *,
    socket: bool = False,
    sqlite: bool = False,
    **changes: Any,
) -> Iterator[Cluster]:
    """Start a server of the demo's base model with PostgreSQL, and stop it at the end.

    Args:
        versions: How many random adapters to register; the first is made live.
        replicas: How many replicas.
        socket: Whether the server reaches PostgreSQL by a Unix socket instead of the loopback.
        sqlite: Whether it keeps what it knows in SQLite, its default, and PostgreSQL runs unused.
        changes: Sections of the configuration to replace.
    """
    from training.demo.base_model import make_base_model

    base = ROOT / ".cache" / "switchboard" / "demo-base"
    make_base_model(base)
    folder = binaries()
    if folder is None:
        raise SystemExit("This needs PostgreSQL's server programs (initdb, postgres, pg_ctl).")
    postgres = Postgres(folder, durable=True)
    with tempfile.TemporaryDirectory(prefix="switchboard-chaos-") as name:
        try:
            postgres.start()
            file = Path(name) / "store.sqlite" if sqlite else None
            store = postgres.socket_url if socket else postgres.url
            store = f"sqlite:///{file}" if file else store
            server = _server(Path(name), store, replicas, base, changes)
            server.start()
            try:
                cluster = Cluster(server, postgres, [], file)
                cluster.versions = [_register(server, base, n, Path(name)) for n in range(versions)]
                cluster.wait_for_replicas(replicas)
                cluster.promote(cluster.versions[0])
                yield cluster
            finally:
                server.stop()
        finally:
            postgres.remove()


def result(**figures: Any) -> dict[str, Any]:
    """Figures with where and when they were measured."""
    return {**figures, "environment": environment(), "commit": commit(), "time": now()}


def until(condition: Callable[[], bool], s: float, what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {s:g} s: {what}")
        time.sleep(0.05)


def _server(folder: Path, store: str, replicas: int, base: Path, changes: dict[str, Any]) -> Server:
    port = ports.free()
    settings = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())
    settings |= {
        "model": str(base),
        "replicas": replicas,
        "prompts": str(ROOT / "configs" / "prompts"),
        "http": {"host": "127.0.0.1", "port": port, **changes.pop("http", {})},
        "store": {"url": store},
        "journal": {"dir": str(folder / "journal")},
        "adapters": {"uri": str(folder / "adapters"), "max_rank": 16, "max_active": 4},
        **changes,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    server = Server(config, port)
    server.create_keys({role: ([role], [ALL]) for role in (Role.ADMIN, Role.SERVICE)})
    return server


def _register(server: Server, base: Path, number: int, folder: Path) -> str:
    made = folder / f"adapter-{number}-{random.randrange(1 << 30)}"

    async def run(registry: Registry) -> str:
        return await register_random(registry, made, base, LOB, seed=number)

    return with_registry(server, run)
