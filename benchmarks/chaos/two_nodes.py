"""A cluster of two nodes: promotions on both, a node lost and back, the link cut and healed.

    python benchmarks/chaos/two_nodes.py [--clients 2] [--promotions 5] [--cut-s 30]

The first node is this machine; the second is a network namespace of it with an address, ports, a
disk and a proxy of its own (root only, Linux), so each has its Ray node, one replica and one
HAProxy. Adapters lie in an S3 (moto's, over HTTP), each node caches them on its own disk. Clients
ask through both proxies, those of the second node from inside its namespace, so that they reach it
while the cable is out. Phases, with versions promoted in each:

1. `both`: both nodes answer.
2. `lost`: everything on the second node is killed with SIGKILL.
3. `back`: its Ray is started again, until a promotion is on both.
4. `cut`: the cable is out for ``--cut-s``; nobody gets so much as a reset.
5. `healed`: the cable is in, Ray is started again if it has ended, until a promotion is on both.

Appends to ``benchmarks/results/chaos/two-nodes.json``.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cluster import RESULTS, ROOT, Cluster, commit, result, running, until
from load import Call, Load
from nodes import Nodes

from serving import ports
from tests.e2e.server import Server

TOOLS = ROOT / ".cache" / "bench" / "nodes"
BUCKET = "switchboard"
BACK_S = 300.0
STEADY_S = 4.0
PAUSE_S = 0.2  # two cores start replicas beside what clients ask
PROMOTE_S = 150.0
OPERATOR_S = 40.0  # who promotes asks again: a proxy may have passed it to a node just cut off
CLIENT_S = 20.0
NEW_NETWORK = 0x40000000  # CLONE_NEWNET of setns(2)


@dataclass
class Promotion:
    """When a promotion was asked for, when it returned, to which version, on how many replicas."""

    began: float
    ended: float
    version: str
    replicas: int
    faults: list[str] = field(default_factory=list)


@dataclass
class Remote(Server):
    """The same server, asked through the proxy of another node."""

    host: str = ""

    @property
    def url(self) -> str:
        """Where that node's proxy listens."""
        return f"http://{self.host}:{self.port}"

    def http(self, key: str | None = "service") -> httpx.Client:
        """A client that gives up, as one does whose machine is cut off."""
        http = super().http(key)
        http.timeout = httpx.Timeout(CLIENT_S)
        return http


@dataclass
class Inside(Load):
    """Clients in a network namespace: a thread's sockets belong to the one it has entered."""

    namespace: str = ""

    def _run(self, number: int) -> None:
        with Path("/run/netns", self.namespace).open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        super()._run(number)


@dataclass
class Phase:
    """One phase: when it began and ended (seconds, monotonic), and what was promoted in it."""

    name: str
    began: float
    ended: float = 0.0
    promotions: list[Promotion] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


class Drill:
    """The phases, one after the other, on a running cluster."""

    def __init__(self, cluster: Cluster, remote: Remote, nodes: Nodes) -> None:
        self.cluster = cluster
        self.remote = remote
        self.nodes = nodes
        self.phases: list[Phase] = []
        self._turn = 0

    def run(self, promotions: int, cut_s: float) -> None:
        """Go through all phases."""
        nodes = self.nodes
        with self._phase("both") as phase:
            time.sleep(STEADY_S)
            for _ in range(promotions):
                self._promote(phase)
            time.sleep(STEADY_S)
        with self._phase("lost") as phase:
            nodes.lose()
            self._promote(phase)
            time.sleep(STEADY_S)
        with self._phase("back") as phase:
            nodes.start_second()
            self._until_on_both(phase)
            self._until_both_answer_there(phase)
        with self._phase("cut") as phase:
            nodes.link("down")
            self._promote(phase)
            time.sleep(max(0.0, phase.began + cut_s - time.monotonic()))
        with self._phase("healed") as phase:
            nodes.link("up")
            phase.notes["second_node_ended_itself"] = self._restart_if_ended()
            self._until_on_both(phase)
            self._until_both_answer_there(phase)
            time.sleep(STEADY_S)

    @contextmanager
    def _phase(self, name: str) -> Iterator[Phase]:
        print(f"phase: {name}", flush=True)
        phase = Phase(name, time.monotonic())
        self.phases.append(phase)
        yield phase
        phase.ended = time.monotonic()

    def _promote(self, phase: Phase) -> Promotion:
        """Promote the next version, again where that fails as an operator would."""
        self._turn += 1
        version = self.cluster.versions[self._turn % len(self.cluster.versions)]
        done = Promotion(time.monotonic(), 0.0, version, 0)
        while not done.replicas:
            try:
                done.replicas = self.cluster.promote(version, OPERATOR_S)["replicas"]
            except httpx.HTTPStatusError as exc:
                done.faults.append(exc.response.text[:300])
            except httpx.TransportError as exc:
                done.faults.append(repr(exc)[:300])
            if time.monotonic() - done.began > PROMOTE_S:
                raise RuntimeError(f"{version} is not promoted: {done.faults}")
        done.ended = time.monotonic()
        print(f"{done.ended - done.began:.2f} s: {done}", flush=True)
        phase.promotions.append(done)
        return done

    def _until_on_both(self, phase: Phase) -> None:
        deadline = time.monotonic() + BACK_S
        while self._promote(phase).replicas < 2:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not on both nodes after {BACK_S:g} s")
            time.sleep(3)
            self._restart_if_ended()

    def _until_both_answer_there(self, phase: Phase) -> None:
        """Wait until the second node's proxy passes requests to both replicas."""
        there = Cluster(self.remote, self.cluster.postgres, self.cluster.versions)
        there.wait_for_replicas(2)
        phase.notes["second_proxy_reaches_both_s"] = round(time.monotonic() - phase.began, 1)

    def _restart_if_ended(self) -> bool:
        """Start the second node's Ray again if it has ended, as a supervisor would."""
        if self.nodes.second_runs:
            return False
        print(self.nodes.second_log[-1500:], flush=True)
        self.nodes.lose()
        self.nodes.start_second()
        return True


def stale(calls: list[Call], promotions: list[Promotion]) -> tuple[int, int, int]:
    """Answers that a linearizable promotion forbids.

    Returns:
        Answers by another version that were asked for after a promotion had returned and answered
        before the next began; answers by the old version that were asked for after an answer by
        the new one had ended; how many answers were compared.
    """
    late = backwards = compared = 0
    good = [call for call in calls if call.fault is None and call.version]
    following = [p.began for p in promotions[1:]] + [float("inf")]
    for done, end in zip(promotions, following, strict=True):
        within = [c for c in good if c.began > done.began and c.ended < end]
        compared += len(within)
        late += sum(c.version != done.version for c in within if c.began > done.ended)
        new = [c.ended for c in within if c.version == done.version]
        first = min(new, default=float("inf"))
        backwards += sum(c.version != done.version for c in within if c.began > first)
    return late, backwards, compared


def seen(calls: list[Call], phase: Phase) -> dict[str, Any]:
    """What clients of one node saw of a phase, by the requests that began in it."""
    within = [call for call in calls if phase.began <= call.began < phase.ended]
    faults = Counter(f"{call.kind}: {call.fault}" for call in within if call.fault)
    good = sorted(call.ended for call in within if call.fault is None)
    last = max((call.ended for call in within if call.fault), default=phase.began)
    times = [phase.began, *(end for end in good if end < phase.ended), phase.ended]
    return {
        "requests": len(within),
        "failed": sum(faults.values()),
        "faults": dict(faults),
        "last_failure_s": round(last - phase.began, 2),
        "longest_gap_between_answers_s": round(max(b - a for a, b in itertools.pairwise(times)), 2),
    }


def stored(cluster: Cluster, ids: list[str]) -> int:
    """How many of these interactions are in the store."""
    return int(cluster.sql("SELECT count(*) FROM interactions WHERE id = ANY(%s)", ids)[0][0])


def figures(drill: Drill, here: Load, there: Load) -> dict[str, Any]:
    """Compare what clients saw with what may be, and with what is in the store."""
    cluster, calls = drill.cluster, here.calls + there.calls
    promotions = [done for phase in drill.phases for done in phase.promotions]
    late, backwards, compared = stale(calls, promotions)
    late_there, backwards_there, _ = stale(there.calls, promotions)
    answered = [c.id for c in calls if c.fault is None and c.kind != "feedback"]
    heard = [c.id for c in calls if c.fault is None and c.kind == "feedback"]
    deadline = time.monotonic() + 60
    while (kept := stored(cluster, answered)) < len(answered) and time.monotonic() < deadline:
        time.sleep(0.5)
    rows = cluster.sql(
        "SELECT replica, count(*) FROM interactions WHERE id = ANY(%s) GROUP BY replica", answered
    )
    fed = cluster.sql("SELECT count(*) FROM feedback WHERE client_key = ANY(%s)", heard)[0][0]
    return {
        "answers_compared": compared,
        "stale_after_promotion_returned": late,
        "old_after_new": backwards,
        "of_these_through_the_second_node": [late_there, backwards_there],
        "answers_by_replica": sorted((count for _, count in rows), reverse=True),
        "interactions_acknowledged": len(answered),
        "interactions_lost": len(answered) - kept,
        "feedback_acknowledged": len(heard),
        "feedback_lost": len(heard) - fed,
        "phases": {
            phase.name: {
                "s": round(phase.ended - phase.began, 1),
                "promotions": [
                    {
                        "asked_s": round(done.began - phase.began, 1),
                        "took_s": round(done.ended - done.began, 2),
                        "replicas": done.replicas,
                        "failed_before": done.faults,
                    }
                    for done in phase.promotions
                ],
                "first_node": seen(here.calls, phase),
                "second_node": seen(there.calls, phase),
                **phase.notes,
            }
            for phase in drill.phases
        },
    }


@contextmanager
def object_store(host: str) -> Iterator[None]:
    """Run an S3 on `host` with an empty bucket; what starts within finds it by its environment."""
    port = ports.free()
    server = subprocess.Popen(
        [TOOLS / "moto" / "bin" / "moto_server", "-H", host, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    libraries = TOOLS / "s3fs"
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "drill",
        "AWS_SECRET_ACCESS_KEY": "drill",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONPATH": str(libraries),
    }
    sys.path.append(str(libraries))
    try:
        url = f"http://{host}:{port}/{BUCKET}"

        def answers() -> bool:
            try:
                return httpx.put(url, timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        until(answers, 60, "the S3 does not answer")
        yield
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    """Run the drill and append the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=2, help="through each node's proxy")
    parser.add_argument("--promotions", type=int, default=5, help="while both nodes answer")
    parser.add_argument("--cut-s", type=float, default=30.0, help="how long the cable is out")
    options = parser.parse_args()
    os.environ["SWITCHBOARD_API_KEY"] = ""
    began = commit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # networks and nodes are taken down
    tempfile.tempdir = "/var/tmp"  # the store's socket lies there: the second node has its own /tmp
    with Nodes() as nodes, object_store(nodes.first_ip):
        nodes.start()
        settings: dict[str, Any] = {
            "ray_address": nodes.address,
            "resources": {"slot": 1},
            "placement": {"max_replicas_per_node": 1},
            "http": {"host": "0.0.0.0"},
            "rollouts": {"surge": False},
            "journal": {"dir": str(nodes.disk / "journal")},
            "adapters": {
                "uri": f"s3://{BUCKET}/adapters",
                "cache_dir": str(nodes.disk / "adapters"),
                "max_rank": 16,
                "max_active": 4,
            },
        }
        with running(versions=3, socket=True, **settings) as cluster:
            server = cluster.server
            remote = Remote(
                server.config, server.port, server.process, server.keys, host=nodes.second_ip
            )
            drill = Drill(cluster, remote, nodes)
            here = Load(server, options.clients, pause_s=PAUSE_S)
            there = Inside(remote, options.clients, pause_s=PAUSE_S, namespace=nodes.name)
            with here, there:
                drill.run(options.promotions, options.cut_s)
            found = figures(drill, here, there)
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "two-nodes.json"
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    runs.append(result(clients=options.clients, cut_s=options.cut_s, **found) | {"commit": began})
    file.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as exc:
        raise SystemExit(f"{exc}\n{exc.stderr or ''}") from exc
