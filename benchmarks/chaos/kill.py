"""Kill drills: what fails, for how long, and is anything lost that was acknowledged?

    python benchmarks/chaos/kill.py [--drills engine_core,replica,…] [--clients 6] [--rounds 20]
                                    [--minutes 60] [--store postgres|sqlite]

Runs a server of two replicas, with a PostgreSQL of its own or with the default store, SQLite, under
constant load (suggestions, half of them streamed, each with feedback) and kills one process a drill
with SIGKILL, each in turn. Times are seconds after the kill. What is there when the minutes are
over, or when a drill does not end well, is written to ``benchmarks/results/chaos/kill.json``
(``kill-sqlite.json``): `summary` by drill, and every drill.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Sequence
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
        stored.update(cluster.rows("interactions", "id", "replica", [*answered]))
        return len(stored) == len(answered)

    deadline = time.monotonic() + 20
    while not drained() and time.monotonic() < deadline:
        time.sleep(0.2)
    heard = [str(key) for key, _ in cluster.rows("feedback", "client_key", "id", [*fed_back])]
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


def summary(drills: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, by what was killed, how often, and what clients saw of it.

    `failing_s` is how long after the kill the last request failed, `gap_s` the longest time without
    an answer: median and greatest of the drills; a drill without a failure counts as 0.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(one["drill"] for one in drills):
        mine = [one for one in drills if one["drill"] == name]
        failing = [one["last_failure_s"] or 0.0 for one in mine]
        gaps = [one["longest_gap_between_answers_s"] or 0.0 for one in mine]
        found[name] = {
            "times": len(mine),
            "calls": sum(one["calls"] for one in mine),
            "failed": sum(one["failed_total"] for one in mine),
            "failed_most_in_one": max(one["failed_total"] for one in mine),
            "without_a_failure": sum(one["failed_total"] == 0 for one in mine),
            "failing_s": {"median": statistics.median(failing), "max": max(failing)},
            "gap_s": {"median": statistics.median(gaps), "max": max(gaps)},
            "acknowledged": sum(
                one["interactions_acknowledged"] + one["feedback_acknowledged"] for one in mine
            ),
            "lost": sum(one["interactions_lost"] + one["feedback_lost"] for one in mine),
            "twice": sum(one["feedback_twice"] for one in mine),
        }
    return found


def main() -> None:
    """Run the drills and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drills")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=120.0, help="then no drill is begun")
    parser.add_argument("--store", choices=("postgres", "sqlite"), default="postgres")
    options = parser.parse_args()
    postgres = options.store == "postgres"
    names = (options.drills or ",".join((*DRILLS, "postgres") if postgres else DRILLS)).split(",")
    figures: list[dict[str, Any]] = []
    until_at = time.monotonic() + options.minutes * 60
    try:
        with running(sqlite=not postgres) as cluster:
            for name in names * options.rounds:
                if time.monotonic() > until_at:
                    break
                figures.append(drill(cluster, name, options.clients))
                print(json.dumps(figures[-1]), flush=True)
    finally:
        if figures:
            _write(figures, options)


def _write(figures: list[dict[str, Any]], options: argparse.Namespace) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / ("kill.json" if options.store == "postgres" else "kill-sqlite.json")
    found = summary(figures)
    content = result(summary=found, drills=figures, clients=options.clients, store=options.store)
    file.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    print(f"{file}: {sum(one['lost'] for one in found.values())} acknowledged and lost")


if __name__ == "__main__":
    main()
