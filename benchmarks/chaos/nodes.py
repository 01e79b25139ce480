"""A cluster of two nodes: are promotions linearizable on both, and what does losing one cost?

    python benchmarks/chaos/nodes.py [--clients 4] [--promotions 10] [--cut] [--back]

The first node is this machine; the second is a network namespace of it with an address, ports and
proxy of its own (root only, Linux), so each has its Ray node, one replica and one HAProxy. Clients
ask through both proxies while versions are promoted; then everything on the second node is killed
with SIGKILL (with ``--cut`` its cable is pulled first, so that nothing answers, not even with a
reset) and a version is promoted; with ``--back`` the node returns, and versions are promoted until
one is on both again. Times are seconds after the loss. Appends to
``benchmarks/results/chaos/nodes.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
from cluster import RESULTS, Cluster, result, running
from load import Call, Load
from node import Nodes

from tests.e2e.server import Server

BACK_S = 300.0
AFTER_S = 8.0
PROMOTE_S = 120.0


@dataclass
class Promotion:
    """When a promotion was asked for, when it returned, to which version, on how many replicas."""

    began: float
    ended: float
    version: str
    replicas: int
    faults: list[str]


@dataclass
class Remote(Server):
    """The same server, asked through the proxy of another node."""

    host: str = ""

    @property
    def url(self) -> str:
        """Where that node's proxy listens."""
        return f"http://{self.host}:{self.port}"


def promote(cluster: Cluster, version: str) -> Promotion:
    """Promote, again where it fails as an operator would, and note when."""
    began, faults = time.monotonic(), []
    while True:
        try:
            done = cluster.promote(version)
            return Promotion(began, time.monotonic(), version, done["replicas"], faults)
        except httpx.HTTPError as exc:
            faults.append(f"{time.monotonic() - began:.1f} s: {exc!r}"[:200])
            print(f"{version}: {faults[-1]}", flush=True)
            if time.monotonic() - began > PROMOTE_S:
                raise
            time.sleep(0.5)


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
    for done, until in zip(promotions, following, strict=True):
        within = [c for c in good if c.began > done.began and c.ended < until]
        compared += len(within)
        late += sum(c.version != done.version for c in within if c.began > done.ended)
        new = [c.ended for c in within if c.version == done.version]
        first = min(new, default=float("inf"))
        backwards += sum(c.version != done.version for c in within if c.began > first)
    return late, backwards, compared


def drill(cluster: Cluster, nodes: Nodes, options: argparse.Namespace) -> dict[str, Any]:
    """Promote under load, lose the second node, promote, let it return, promote."""
    server = cluster.server
    remote = Remote(server.config, server.port, server.process, server.keys, host=nodes.second_ip)
    here, there = Load(server, options.clients), Load(remote, options.clients)
    with here:
        with there:
            time.sleep(2)
            done = [
                promote(cluster, cluster.versions[n % len(cluster.versions)])
                for n in range(1, options.promotions + 1)
            ]
            time.sleep(2)
            lost = time.monotonic()
            nodes.lose(cut=options.cut)
            gone = time.monotonic()
            there._stop.set()
        following = cluster.versions[(options.promotions + 1) % len(cluster.versions)]
        alone = promote(cluster, following)
        time.sleep(AFTER_S)
        acknowledged = [c.id for c in here.calls + there.calls if c.fault is None and c.id]
        ids = [c for c in acknowledged if not is_feedback(c)]
        waiting = len(ids) - stored(cluster, ids)
        back: list[Promotion] = []
        if options.back:
            nodes.start_second()
        until = time.monotonic() + BACK_S
        while options.back and (not back or back[-1].replicas < 2):
            if time.monotonic() > until:
                raise RuntimeError(f"the node's replica is not back after {BACK_S:g} s")
            time.sleep(3)
            n = options.promotions + 2 + len(back)
            back.append(promote(cluster, cluster.versions[n % len(cluster.versions)]))
        time.sleep(4)
    return figures(cluster, here, there, [*done, alone, *back], lost, gone) | {
        "way": "cut" if options.cut else "kill",
        "promotions_on_two_nodes": len(done),
        "replicas_of_promotions": dict(Counter(p.replicas for p in done)),
        "promotion_s": spread([p.ended - p.began for p in done]),
        "promotion_after_loss_s": round(alone.ended - alone.began, 2),
        "promotion_after_loss_replicas": alone.replicas,
        "failed_promotions": [fault for p in (*done, alone, *back) for fault in p.faults],
        "interactions_on_the_lost_disk": waiting,
        "replica_back_s": round(back[-1].ended - lost, 1) if back else None,
    }


def is_feedback(id_: str) -> bool:
    """Whether an id is a feedback's key, which has no prefix of vLLM's."""
    return not id_.startswith("chatcmpl-")


def stored(cluster: Cluster, ids: list[str]) -> int:
    """How many of these interactions are in the store."""
    return int(cluster.sql("SELECT count(*) FROM interactions WHERE id = ANY(%s)", ids)[0][0])


def spread(seconds: list[float]) -> dict[str, float]:
    """Least, median and greatest."""
    ordered = sorted(seconds)
    return {
        "min": round(ordered[0], 3),
        "median": round(ordered[len(ordered) // 2], 3),
        "max": round(ordered[-1], 3),
    }


def figures(
    cluster: Cluster,
    here: Load,
    there: Load,
    promotions: list[Promotion],
    lost: float,
    gone: float,
) -> dict[str, Any]:
    """Compare what clients saw with what may be, and with what is in the store."""
    calls = here.calls + there.calls
    late, backwards, compared = stale(calls, promotions)
    answered = [c.id for c in calls if c.fault is None and c.kind != "feedback"]
    heard = [c.id for c in calls if c.fault is None and c.kind == "feedback"]
    deadline = time.monotonic() + 30
    while (kept := stored(cluster, answered)) < len(answered) and time.monotonic() < deadline:
        time.sleep(0.5)
    rows = cluster.sql(
        "SELECT replica, count(*) FROM interactions WHERE id = ANY(%s) GROUP BY replica", answered
    )
    fed = cluster.sql("SELECT count(*) FROM feedback WHERE client_key = ANY(%s)", heard)[0][0]
    failed = [c for c in here.calls if c.fault]
    good = sorted(c.ended for c in here.calls if c.fault is None and c.kind != "feedback")
    gaps = [b - a for a, b in itertools.pairwise(good) if b > lost]
    return {
        "calls": len(calls),
        "answers_compared": compared,
        "stale_after_promotion_returned": late,
        "old_after_new": backwards,
        "answers_by_replica": sorted((count for _, count in rows), reverse=True),
        "failed_before_the_loss": sum(c.ended < lost for c in calls if c.fault),
        "in_flight_through_the_first_node": sum(
            c.began < gone and c.ended > lost for c in here.calls
        ),
        "failed_in_flight_through_the_first_node": dict(
            Counter(f"{c.kind}: {c.fault}" for c in failed if c.began < gone)
        ),
        "failed_later_through_the_first_node": dict(
            Counter(f"{c.kind}: {c.fault}" for c in failed if c.began >= gone)
        ),
        "last_failure_s": round(max((c.ended - lost for c in failed), default=0.0), 2),
        "longest_gap_between_answers_s": round(max(gaps, default=0.0), 2),
        "failed_through_the_lost_node": sum(c.fault is not None for c in there.calls),
        "interactions_acknowledged": len(answered),
        "interactions_lost": len(answered) - kept,
        "feedback_acknowledged": len(heard),
        "feedback_lost": len(heard) - fed,
    }


def main() -> None:
    """Run the drill and append the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=4, help="through each node's proxy")
    parser.add_argument("--promotions", type=int, default=10)
    parser.add_argument("--cut", action="store_true", help="pull the node's cable, then kill")
    parser.add_argument("--back", action="store_true", help="then let the node come back")
    options = parser.parse_args()
    os.environ["SWITCHBOARD_API_KEY"] = ""
    with Nodes() as nodes:
        settings: dict[str, Any] = {
            "ray_address": nodes.address,
            "resources": {"slot": 1},
            "placement": {"max_replicas_per_node": 1},
            "http": {"host": "0.0.0.0"},
            "rollouts": {"surge": False},
        }
        with running(versions=3, socket=True, **settings) as cluster:
            seen = drill(cluster, nodes, options)
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "nodes.json"
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    runs.append(result(clients=options.clients, **seen))
    file.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    print(json.dumps(seen, indent=1))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as exc:
        raise SystemExit(f"{exc}\n{exc.stderr or ''}") from exc
