"""What the gateway itself adds to an answer, the engine's time left out: ``make bench-gateway``.

    python benchmarks/serving/gateway_alone.py [--inflight 1,100,1000] [--rates 50,100,200,300,500]
                                               [--seconds 3] [--rounds 1] [--results FOLDER]

**The engine here is a stand-in** (``gateway_server.py``): an ASGI app that sends the bytes of a
chat of 48 tokens at a fixed pace, as an engine on cores or a device of its own would. It answers
the client in two ways: alone, and through Switchboard's gateway with keys, routing, admission,
capture to the journal and a drainer that stores all in SQLite. Each is one process with one event
loop on one and the same core; the client has the others. Ray Serve and HAProxy take no part.

Each request through the gateway has its pair: the same one, at the same place in the same cell, to
the stand-in alone. Reported are percentiles of what the gateway's takes longer, over all rounds;
the stand-in alone a second time (`noise`) says what the machine makes of nothing.

- In flight: one at a time without a pace, in turns; more at a pace by which the core is not full.
- Rates: Poisson arrivals, the same for all. `holds` is the highest rate up to which the p99 of
  added latency stays at `LIMIT_MS`, to the first byte and to the last, all stored by the end.
- CPU microseconds a request of the server's process, storing included, over the stand-in alone.

Writes ``gateway.json``: ``added``, ``holds``, ``cpu_us``, ``skipped``, every run, environment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from gateway_load import Client, Times
from gateway_server import TOKENS
from ratios import rotated
from results import RESULTS, write_json
from workloads import arrivals

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

ARMS = ("alone", "gateway", "noise")
LIMIT_MS = 2.0
BEHIND_S = 2.0  # a batch is stored a second after its first answer
RATE_PACE_S = 0.02
PACES_S = {1: 0.0, 100: 0.02, 1000: 0.1}
"""From token to token, by how many are in flight: 1,000 answers of 4.8 s are 208 a second."""
WARMUPS = 200
SKIPPED = {
    "ray_llm": "ray.serve.llm has no place for an engine but vLLM's own",
    "litellm": "its proxy asks over HTTP: with the stand-in it would need a third core",
}


class Server:
    """One of the two servers, and a client for it."""

    def __init__(self, process: asyncio.subprocess.Process, client: Client) -> None:
        self._process = process
        self.client = client

    @classmethod
    async def start(cls, kind: str, core: int | None) -> Server:
        """Start it; raises RuntimeError if it says nothing."""
        script = str(Path(__file__).with_name("gateway_server.py"))
        pinned = [] if core is None else ["--core", str(core)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, script, kind, *pinned),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said = await _line(process)
        return cls(process, Client(said["port"], said["key"]))

    async def tell(self, **asked: Any) -> dict[str, Any]:
        """Set the pace, or have all stored; returns CPU seconds so far and what was not stored."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return await _line(self._process)

    async def stop(self) -> None:
        """End it; raises RuntimeError if it does not end well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if code := await asyncio.wait_for(self._process.wait(), 30):
            raise RuntimeError(f"a server ended with {code}")


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 120)
    if not line:
        raise RuntimeError("a server ended")
    said: dict[str, Any] = json.loads(line)
    return said


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile, as milliseconds with three digits."""
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 99)}


def added(above: Sequence[Times], below: Sequence[Times]) -> dict[str, dict[str, float]]:
    """Percentiles of what each request takes longer than its pair.

    Raises:
        ValueError: One has no pair.
    """
    pairs = list(zip(above, below, strict=True))
    return {
        "first_ms": percentiles([a.first_ms - b.first_ms for a, b in pairs]),
        "whole_ms": percentiles([a.whole_ms - b.whole_ms for a, b in pairs]),
    }


def summary(cells: Mapping[str, Mapping[str, Sequence[Times]]]) -> dict[str, Any]:
    """By cell: what the gateway adds, and what the machine adds to the same twice.

    Args:
        cells: By the cell's name and arm, the times of its requests, in pairs.
    """
    return {
        name: {
            "requests": len(arms["alone"]),
            "gateway": added(arms["gateway"], arms["alone"]),
            "noise": added(arms["noise"], arms["alone"]),
        }
        for name, arms in cells.items()
    }


def keeps(added_: Mapping[str, Mapping[str, float]], behind_s: float) -> bool:
    """Whether a rate is held.

    Args:
        added_: What `added` gave of it.
        behind_s: What storing took after the last answer.
    """
    return behind_s <= BEHIND_S and all(of["p99"] <= LIMIT_MS for of in added_.values())


def holds(found: Mapping[str, Any], runs: Iterable[Mapping[str, Any]], kind: str) -> int:
    """The highest rate up to which every one is held; 0 where the lowest is not.

    Args:
        found: What `summary` gave.
        runs: Each with ``cell`` and ``behind_s``.
        kind: ``stream`` or ``whole``.
    """
    behind: dict[str, float] = {}
    for run in runs:
        behind[run["cell"]] = max(behind.get(run["cell"], 0.0), run["behind_s"])
    named = {int(name.split()[1]): name for name in found if name.startswith(kind) and "/s" in name}
    best = 0
    for rate, name in sorted(named.items()):
        if not keeps(found[name]["gateway"], behind[name]):
            break
        best = rate
    return best


def cpu(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By cell, CPU microseconds a request: of the stand-in alone, and what the gateway adds."""
    spent: dict[str, dict[str, list[tuple[float, int]]]] = {}
    for run in runs:
        by_arm = spent.setdefault(run["cell"], {})
        by_arm.setdefault(run["arm"], []).append((run["cpu_s"], run["requests"]))
    found = {}
    for cell, by_arm in spent.items():
        us = {
            arm: 1e6 * sum(s for s, _ in each) / sum(n for _, n in each)
            for arm, each in by_arm.items()
        }
        found[cell] = {
            "alone": round(us["alone"]),
            "added": round(us["gateway"] - us["alone"]),
            "noise": round(us["noise"] - us["alone"]),
        }
    return found


class Measured:
    """The two servers, and all that was measured on them so far."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self._servers = dict(servers) | {"noise": servers["alone"]}
        self.cells: dict[str, dict[str, list[Times]]] = {}
        self.runs: list[dict[str, Any]] = []

    async def in_turns(self, count: int, *, stream: bool) -> None:
        """Ask every arm once, so many times, without a pace."""
        cell = f"{_kind(stream)}: 1 in flight"
        before = await self._settle(0.0)
        found: dict[str, list[Times]] = {arm: [] for arm in ARMS}
        for number in range(count):
            for arm in rotated(ARMS, number):
                found[arm].append(await self._servers[arm].client.ask(stream=stream))
        after = await self._settle(0.0)
        for arm in ARMS:
            spent = after[arm]["cpu_s"] - before[arm]["cpu_s"]
            share = spent if arm == "gateway" else spent / 2  # `alone` is asked twice
            self._keep(cell, arm, 0, found[arm], share, 0.0)

    async def turn(self, cell: str, number: int, pace_s: float, load: Any) -> None:
        """Give every arm the same load, the arms in an order of this turn.

        Args:
            cell: Its name in the results.
            number: The round.
            pace_s: The stand-in's.
            load: Called with a client; returns the times.
        """
        for arm in rotated(ARMS, number):
            server = self._servers[arm]
            before = await server.tell(settle=True, pace_s=pace_s)
            times = await load(server.client)
            ended = time.perf_counter()
            after = await server.tell(settle=True)
            behind_s = time.perf_counter() - ended
            self._keep(cell, arm, number, times, after["cpu_s"] - before["cpu_s"], behind_s)

    async def _settle(self, pace_s: float) -> dict[str, dict[str, Any]]:
        return {
            arm: await server.tell(settle=True, pace_s=pace_s)
            for arm, server in self._servers.items()
        }

    def _keep(
        self, cell: str, arm: str, number: int, times: list[Times], cpu_s: float, behind_s: float
    ) -> None:
        self.cells.setdefault(cell, {}).setdefault(arm, []).extend(times)
        row = {"round": number, "cell": cell, "arm": arm, "requests": len(times)}
        row |= {
            f"{name}_p{p}": round(float(np.percentile([getattr(one, name) for one in times], p)), 3)
            for name in Times._fields
            for p in (50, 99)
        }
        row |= {"cpu_s": round(cpu_s, 4), "behind_s": round(behind_s, 2)}
        self.runs.append(row)
        print(row, file=sys.stderr, flush=True)


def _kind(stream: bool) -> str:
    return "stream" if stream else "whole"


async def measure(options: argparse.Namespace, core: int | None) -> Measured:
    """Start both servers, measure all cells, stop them."""
    servers = {kind: await Server.start(kind, core) for kind in ("alone", "gateway")}
    found = Measured(servers)
    try:
        for stream in (True, False):
            for server in servers.values():
                for _ in range(WARMUPS):
                    await server.client.ask(stream=stream)
        for inflight in options.inflight:
            for stream in (True, False):
                await _inflight(found, options, inflight, stream=stream)
        for stream in (True, False):
            for rate in options.rates:
                await _rate(found, options, rate, stream=stream)
                cell = f"{_kind(stream)}: {rate} /s"
                if holds(summary({cell: found.cells[cell]}), found.runs, _kind(stream)) < rate:
                    break  # what comes after says no more
    finally:
        for server in servers.values():
            await server.stop()
    return found


async def _inflight(
    found: Measured, options: argparse.Namespace, inflight: int, *, stream: bool
) -> None:
    if inflight == 1:
        await found.in_turns(options.pairs, stream=stream)
        return
    pace_s = PACES_S.get(inflight, PACES_S[1000])
    answer_s = TOKENS * pace_s
    each = max(2, round(options.seconds / answer_s))

    async def hold(client: Client) -> list[Times]:
        by_client = await client.hold(inflight, each, answer_s, stream=stream)
        return [times for its in by_client for times in its]

    for number in range(options.rounds):
        await found.turn(f"{_kind(stream)}: {inflight} in flight", number, pace_s, hold)


async def _rate(found: Measured, options: argparse.Namespace, rate: int, *, stream: bool) -> None:
    for number in range(options.rounds):
        at = arrivals(rate, options.seconds, seed=number)

        async def arrive(client: Client) -> list[Times]:
            return await client.arrive(at, stream=stream)  # noqa: B023 - it is awaited here

        await found.turn(f"{_kind(stream)}: {rate} /s", number, RATE_PACE_S, arrive)


def main() -> None:
    """Measure and write the result."""
    numbers = lambda text: [int(one) for one in text.split(",") if one]  # noqa: E731
    parser = argparse.ArgumentParser(description="The gateway alone; see the head of this file.")
    parser.add_argument("--inflight", type=numbers, default=[1, 100, 1000])
    parser.add_argument("--rates", type=numbers, default=[50, 100, 200, 300, 500])
    parser.add_argument("--pairs", type=int, default=1000, help="of requests one at a time")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a cell")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("Two cores are needed: one for a server, one for the client.")
    measured_at = commit()
    os.sched_setaffinity(0, set(cores[:-1]))
    found = uvloop.run(measure(options, cores[-1]))
    os.sched_setaffinity(0, set(cores))
    of = summary(found.cells)
    result = {
        "added": of,
        "holds_per_s_on_a_core": {
            kind: holds(of, found.runs, kind) for kind in ("stream", "whole")
        },
        "limit_ms_p99": LIMIT_MS,
        "cpu_us_per_request": cpu(found.runs),
        "skipped": SKIPPED,
        "environment": environment(),
        "commit": measured_at,
        "time": now(),
        "runs": found.runs,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "gateway.json", result)
    print(json.dumps({name: result[name] for name in list(result)[:4]}, indent=1))


if __name__ == "__main__":
    main()
