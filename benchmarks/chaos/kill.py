"""Kill drills: what fails, for how long, and is anything lost that was acknowledged?

    python benchmarks/chaos/kill.py [--drills engine_core,replica,…] [--clients 6] [--rounds 1]

Runs a server of two replicas with a PostgreSQL of its own under constant load (suggestions, half
of them streamed, each with feedback) and kills one process a drill with SIGKILL. Times are seconds
after the kill. Writes ``benchmarks/results/chaos/kill.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from typing import Any

from cluster import RESULTS, Cluster, result, running, until
from load import Call, Load

DRILLS = ("engine_core", "replica", "haproxy", "proxy_actor", "controller", "coordinator")
BEFORE_S, AFTER_S, OUTAGE_S, LIMIT_S = 4.0, 4.0, 10.0, 240.0


def drill(cluster: Cluster, name: str, clients: int) -> dict[str, Any]:
    """Kill one process under load; returns the figures."""
    before = cluster.wait_for_replicas(2)
    live = cluster.versions[0]
    with Load(cluster.server, clients) as load:
        time.sleep(BEFORE_S)
        killed = time.monotonic()
        extra = {"postgres": _postgres, "coordinator": _coordinator}.get(name, _kill)(
            cluster, name, killed
        )
        if name in ("engine_core", "replica"):
            until(lambda: len(cluster.replicas() - before) == 1, LIMIT_S, "a new replica answers")
            cluster.wait_for_replicas(2)
        until(lambda: _quiet(load.calls, killed), LIMIT_S, "no more failures")
        time.sleep(AFTER_S)
    if name == "coordinator":
        cluster.promote(live)
    return {"drill": name, **_figures(cluster, load, killed, before), **extra}


def _kill(cluster: Cluster, name: str, killed: float) -> dict[str, Any]:
    """SIGKILL the oldest process of a role, and wait until another has its role."""
    found = cluster.processes(name)
    victim = found[0]
    victim.kill()

    def replaced() -> bool:
        others = [process for process in cluster.processes(name) if process != victim]
        return len(others) >= len(found)

    until(replaced, LIMIT_S, f"a new {name}")
    return {"new_process_s": _since(killed)}


def _coordinator(cluster: Cluster, name: str, killed: float) -> dict[str, Any]:
    """Kill it, and see how long promotions wait."""
    extra = _kill(cluster, name, killed)
    return extra | {"promoted_s": _since(killed), **_promotion(cluster)}


def _promotion(cluster: Cluster) -> dict[str, Any]:
    started = time.monotonic()
    done = cluster.promote(cluster.versions[1])
    return {"promotion_took_s": _since(started), "promotion_replicas": done["replicas"]}


def _postgres(cluster: Cluster, _: str, killed: float) -> dict[str, Any]:
    """Kill PostgreSQL, start it again after a while, and wait until the journal is drained."""
    import httpx

    cluster.postgres.kill()
    time.sleep(OUTAGE_S)
    page = httpx.get(f"{cluster.server.url}/health", timeout=5).json()
    cluster.postgres.start()
    started = time.monotonic()

    def up() -> bool:
        pages = [httpx.get(f"{cluster.server.url}/health", timeout=5).json() for _ in range(4)]
        return all(p["status"] == "live" for p in pages)

    until(up, LIMIT_S, "the health page says that all is well")
    return {
        "outage_s": round(started - killed, 2),
        "health_page_during_outage": page,
        "well_after_return_s": _since(started),
    }


def _quiet(calls: list[Call], killed: float) -> bool:
    """Whether the last second saw successes and no failure."""
    now = time.monotonic()
    last = [call for call in list(calls)[-500:] if call.ended > now - 1]
    return now > killed + 2 and bool(last) and not any(call.fault for call in last)


def _since(at: float) -> float:
    return round(time.monotonic() - at, 2)


def _figures(cluster: Cluster, load: Load, killed: float, before: set[str]) -> dict[str, Any]:
    """Compare what clients saw with what is in the store."""
    answered = {c.id: c for c in load.good("request") + load.good("stream")}
    fed_back = {c.id for c in load.good("feedback")}
    stored: dict[str, str] = {}

    def drained() -> bool:
        rows = cluster.sql("SELECT id, replica FROM interactions WHERE id = ANY(%s)", [*answered])
        stored.update(dict(rows))
        return len(stored) == len(answered)

    deadline = time.monotonic() + 20
    while not drained() and time.monotonic() < deadline:
        time.sleep(0.2)
    rows = cluster.sql("SELECT client_key FROM feedback WHERE client_key = ANY(%s)", [*fed_back])
    heard = [key for (key,) in rows]
    failures = sorted(c.ended - killed for c in load.calls if c.fault)
    good = sorted(c.ended - killed for c in answered.values())
    gaps = [(b - a, a) for a, b in itertools.pairwise(good) if b > 0]
    late = [c for id_, c in answered.items() if stored.get(id_) not in {*before, None}]
    new = [call.ended - killed for call in late]
    return {
        "calls": len(load.calls),
        "failed": load.faults(),
        "failed_total": sum(load.faults().values()),
        "first_failure_s": round(failures[0], 2) if failures else None,
        "last_failure_s": round(failures[-1], 2) if failures else None,
        "longest_gap_between_answers_s": round(max(gaps)[0], 2) if gaps else None,
        "new_replica_answers_s": round(min(new), 2) if new else None,
        "versions_of_new_replica": sorted({c.version for c in late}),
        "interactions_acknowledged": len(answered),
        "interactions_lost": len(answered) - len(stored),
        "feedback_acknowledged": len(fed_back),
        "feedback_lost": len(fed_back - {*heard}),
        "feedback_twice": len(heard) - len({*heard}),
    }


def main() -> None:
    """Run the drills and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drills", default=",".join((*DRILLS, "postgres")))
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    figures = []
    with running() as cluster:
        for _ in range(options.rounds):
            for name in options.drills.split(","):
                figures.append(drill(cluster, name, options.clients))
                print(json.dumps(figures[-1], indent=1), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "kill.json"
    lost = sum(f["interactions_lost"] + f["feedback_lost"] for f in figures)
    content = result(drills=figures, clients=options.clients, acknowledged_and_lost=lost)
    file.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{file}: {lost} acknowledged and lost")


if __name__ == "__main__":
    main()
