"""Two real servers for all files here, with the real engine and the demo's base model.

`server` has the default pair, HAProxy and SQLite, and two replicas; `lone` one replica, HAProxy and
a PostgreSQL of its own, which tests crash, and `server` as its upstream. Starting an engine takes
longer than most files, so files come in an order that makes the best of these two: first what needs
two replicas, then what kills one, then the kill of the whole server, which comes back with one
replica and Ray's own proxy; then what needs a single replica.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving import ports
from serving.adapters.registry import Registry
from serving.auth import Role
from tests import versions
from tests.collector import Collector, collecting
from tests.e2e.server import ROOT, Lone, Server, needs_servers, with_registry
from tests.postgres import Postgres, binaries
from tests.tiny_sentence_models import make_sentence_model

BASE = ROOT / ".cache" / "switchboard" / "demo-base"
OTHER_BASE = os.environ.get("SWITCHBOARD_TEST_BASE")  # any other checkpoint, to test with it
DISK = "4m"
HOLDBACK = 0.5  # of the line sales
GUARDS = {"input": {"injection": "block", "prompt_leak": "flag"}}  # of the same line
RULE = {
    "name": "opening-hours",
    "version": 1,
    "patterns": [r"opening hours of your (?P<place>\w+)"],
    "answer": "The {place} is open from 9 to 5.",
}
REVIEWS = {"high_stakes": [{"name": "cancelling", "customer": ["cancel my whole contract"]}]}
"""Of the same line, too."""
FIELDS = {
    "bought": {"type": "bool", "description": "Whether they bought", "required": True},
    "mood": {"type": "enum", "description": "How they felt", "values": ["calm", "angry"]},
    "due": {"type": "date", "description": "The day of the delivery"},
}
"""Of its summaries: none is a text, so that any model comes to an end."""
OWN = 10  # the place of the first file that needs neither server
LAST = ["test_kill", "test_durability", "test_store_down", "test_fallback", "test_overload"]
# The worker folded into the engine's process: one import of vLLM less at each start.
ENGINE = {"distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor"}
NARROW = ENGINE | {
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 4096,
    "dtype": "float32",
}
"""Long enough answers that a deadline cuts them, on the servers of one replica."""

INSIGHTS = {
    "intents": {"order": "Wants to buy", "cancel": "Wants out of a contract"},
    "entities": {"product": "What is bought", "day": "When"},
}

WHO: dict[str, tuple[list[Role], list[str]]] = {
    "admin": ([Role.ADMIN], ["*"]),
    "service": ([Role.SERVICE], ["*"]),
    "trainer": ([Role.TRAINER], ["*"]),
    "care-only": ([Role.SERVICE], ["care"]),
    "agent": ([Role.AGENT], ["*"]),
    "reviewer": ([Role.REVIEWER], ["sales"]),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in their order: what takes longest comes first, the servers and the demo."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    name = item.path.stem
    if needs_servers(item.path):
        return 1 + LAST.index(name) if name in LAST else 0
    return OWN + {"test_demo": 0, "test_engine": 1}.get(name, 2)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The demo's base model, made the first time, unless SWITCHBOARD_TEST_BASE names another."""
    if OTHER_BASE:
        return Path(OTHER_BASE)
    from training.demo.base_model import make_base_model

    BASE.parent.mkdir(parents=True, exist_ok=True)
    with BASE.with_suffix(".lock").open("w") as lock:  # another worker may want it as well
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_base_model(BASE)
    return BASE


@pytest.fixture(scope="session")
def make_server(base_model: Path) -> Callable[..., Server]:
    """A function that writes a configuration in a folder; the caller starts and stops it."""

    def make(folder: Path, *, replicas: int = 1, proxy: str = "haproxy", **changes: Any) -> Server:
        port = ports.free()
        settings: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())
        settings["engine"] |= ENGINE
        settings["lobs"]["sales"] |= {
            "holdback": HOLDBACK,
            "guards": GUARDS,
            "reviews": REVIEWS,
            "rules": [RULE],
            "knowledge": {"timeout_s": 20.0},
            "responses": {"timeout_s": 20.0},
            "summary_fields": FIELDS,
            "insights": INSIGHTS,
        }
        settings |= {
            "model": str(base_model),
            "replicas": replicas,
            "prompts": str(ROOT / "configs" / "prompts"),
            "http": {"host": "127.0.0.1", "port": port, "proxy": proxy},
            "store": {"url": f"sqlite:///{folder / 'store.sqlite'}"},
            "journal": {"dir": str(folder / "journal")},
            "files": {"uri": str(folder / "files")},
            "adapters": {"uri": str(folder / "adapters"), "max_rank": 16, "max_active": 4},
        }
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings | changes))
        server = Server(config, port)
        server.create_keys(WHO)
        return server

    return make


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Where the server with two replicas sends its spans."""
    with collecting() as made:
        yield made


@pytest.fixture(scope="package")
def server(
    make_server: Callable[..., Server],
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The server with two replicas, until `test_durability` kills it."""
    telemetry = {"otlp_endpoint": collector.url, "log_format": "json"}
    sentences = make_sentence_model(tmp_path_factory.mktemp("sentences"))
    made = make_server(
        tmp_path_factory.mktemp("server"),
        replicas=2,
        telemetry=telemetry,
        embeddings={"model": str(sentences)},
    )
    made.start()
    yield made
    made.stop()


def change_to_one_replica(server: Server) -> None:
    """Make it come back, when it is next started, with one replica and Ray's own proxy."""
    server.change(replicas=1, http=server.settings["http"] | {"proxy": "python"}, engine=NARROW)


@pytest.fixture(scope="package")
def lone(
    make_server: Callable[..., Server], server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lone]:
    """The server with one replica, on a database and a disk of its own."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server binaries: neither `pg_config --bindir` nor /usr/lib has")
    folder = tmp_path_factory.mktemp("lone")
    journal = folder / "journal"
    journal.mkdir()
    key = folder / "spare-key"
    key.write_text(server.keys["service"])
    spare = {"url": f"{server.url}/v1", "model": "base", "api_key": f"${{file:{key}}}"}
    with contextlib.ExitStack() as stack:
        if small_disk(journal):
            stack.callback(subprocess.run, ["umount", "--lazy", journal], check=True)
        postgres = Postgres(programs)
        stack.callback(postgres.remove)
        postgres.start()
        made = make_server(
            folder,
            store={"url": postgres.url},
            journal={"dir": str(journal)},
            upstreams={"spare": spare},
            engine=NARROW,
        )
        stack.callback(made.stop)
        made.start()
        yield Lone(made, postgres, journal)


def small_disk(folder: Path) -> bool:
    """Mount a small file system of its own, where this machine lets us."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
    return shutil.which("mount") is not None and not subprocess.run(command).returncode


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
