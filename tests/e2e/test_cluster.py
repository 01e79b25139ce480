"""Two Ray nodes on one machine: replicas on both, linearizable promotion, and the loss of one."""

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving import ports
from tests.e2e.conftest import BIN, ROOT, Server
from tests.e2e.test_hot_swap import PROMPT, client, promote, stream_once

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CLIENTS = 6


@dataclass
class Nodes:
    """Ray nodes of this test's own, each with room for one replica."""

    port: int = field(default_factory=ports.free)
    folder: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="sbray-", dir="/tmp"))
    )
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        head = not self.running
        command: list[str | Path] = [BIN / "ray", "start", "--block", "--disable-usage-stats"]
        command += ["--num-cpus=2", "--object-store-memory=100000000", '--resources={"slot": 1}']
        if head:
            command += ["--head", f"--port={self.port}", "--include-dashboard=false"]
            command += [f"--temp-dir={self.folder}"]
        else:
            command += [f"--address=127.0.0.1:{self.port}"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        if head:
            deadline = time.monotonic() + 60
            while not listening(self.port):
                assert time.monotonic() < deadline, (self.folder / f"{name}.log").read_text()
                time.sleep(0.2)

    def kill(self, name: str) -> None:
        """`kill -9` a node: its raylet, workers and engines, as when a machine is gone."""
        root = psutil.Process(self.running.pop(name).pid)
        tree = [root, *root.children(recursive=True)]
        for process in tree:
            process.suspend()  # or those that are left would notice and act
        for process in tree:
            process.kill()
        psutil.wait_procs(tree, timeout=30)

    def stop(self) -> None:
        for name in list(self.running):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    try:
        made.start("first")
        made.start("second")
        yield made
    finally:
        made.stop()


@dataclass
class Outcome:
    """One request: when it ran, whether it ended whole, and its id."""

    asked: float
    ended: float
    whole: bool
    id: str
    what: str


async def ask(http: httpx.AsyncClient) -> Outcome:
    body: dict[str, Any] = {"model": "care", "messages": PROMPT, "max_tokens": 40, "stream": True}
    asked, id_, done, what = time.monotonic(), "", False, ""
    try:
        async with http.stream(
            "POST", "/v1/chat/completions", json=body | {"ignore_eos": True}
        ) as answer:
            what = str(answer.status_code)
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    id_ = json.loads(line[6:]).get("id", "")
                done = done or line == "data: [DONE]"
    except httpx.TransportError as exc:
        what += repr(exc)
    return Outcome(asked, time.monotonic(), done, id_, what)


async def replicas(http: httpx.AsyncClient, ids: list[str]) -> set[str]:
    return {(await http.get(f"/v1/interactions/{id_}")).json()["replica"] for id_ in ids}


async def test_two_nodes_and_the_loss_of_one(
    make_server: Callable[..., Server],
    register: Callable[..., str],
    nodes: Nodes,
    tmp_path: Path,
) -> None:
    server = make_server(
        tmp_path, replicas=2, ray_address=f"127.0.0.1:{nodes.port}", resources={"slot": 1}
    )
    config = server.settings
    config["http"]["proxy_on"] = "head"
    server.config.write_text(json.dumps(config))  # JSON is YAML
    versions = [register(server, "care") for _ in range(3)]
    await asyncio.to_thread(server.start)
    seen: list[Outcome] = []
    stop = asyncio.Event()

    async def load(http: httpx.AsyncClient) -> None:
        while not stop.is_set():
            seen.append(await ask(http))

    try:
        async with client(server, "admin") as admin, client(server, "trainer") as http:
            assert (await promote(admin, versions[0]))["replicas"] == 2
            clients = [asyncio.create_task(load(http)) for _ in range(CLIENTS)]
            while len(seen) < 30:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert len(await replicas(http, [s.id for s in seen if s.whole])) == 2

            killed = time.monotonic()
            await asyncio.to_thread(nodes.kill, "second")
            gone = time.monotonic()
            alone = await promote(admin, versions[1])
            after = await asyncio.gather(*(stream_once(http, "care", 2) for _ in range(16)))
            assert alone["replicas"] == 1
            assert {s.header for s in after} == {versions[1]}

            await asyncio.to_thread(nodes.start, "second")
            deadline = time.monotonic() + 240
            current, following = versions[1], versions[2]
            while (await promote(admin, following))["replicas"] < 2:
                assert time.monotonic() < deadline, "the replica did not come back"
                current, following = following, current
                await asyncio.sleep(3)
            after = await asyncio.gather(*(stream_once(http, "care", 2) for _ in range(16)))
            assert {s.header for s in after} == {following}
            stop.set()
            await asyncio.gather(*clients)

            broken = [s for s in seen if not s.whole]
            late = [s for s in broken if s.asked > gone]
            assert len(broken) <= CLIENTS, [(s.asked - killed, s.what) for s in broken]
            assert not late, [(s.asked - killed, s.ended - killed, s.what) for s in late]
            whole = [s for s in seen if s.whole]
            missing = [
                s for s in whole if (await http.get(f"/v1/interactions/{s.id}")).status_code != 200
            ]
            assert missing == [], "a journal on the lost node is adopted where its disk still is"
            assert len(await replicas(http, [s.id for s in whole[-20:]])) >= 1
    finally:
        stop.set()
        server.stop()
