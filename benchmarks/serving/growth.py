"""Growth benchmark: ``make bench-growth``. Does a large adapter registry cost anything?

    python benchmarks/serving/growth.py [--registered 1,10,100,1000] [--active 8,64] [--rounds 3]
                                        [--requests 128] [--concurrency 8] [--cold 10]

Starts a Switchboard for each size of registry, all side by side; as in ``run.py`` only the one
being measured runs. In each round it drives `active` pinned versions in turn (the `adapters`
workload), times the first request to versions that were never used, and times ``GET /v1/models``.
The engine has 8 LoRA slots and keeps 128 adapters in memory, so 64 active ones take turns in the
slots.

Writes ``benchmarks/results/growth.json``: ``ratios`` against one registered adapter and against the
smallest registry with as many active ones, ``figures`` by size, every run, environment, commit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import targets
from client import Client
from drive import drive, exit_on_sigterm, prepare, say
from ratios import Ratio, rotated, spread
from results import RESULTS, write_json
from target import ROOT, Target
from workloads import WARM_ROUND, seed

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

DISTINCT = 64  # adapters with weights of their own; larger registries repeat them as new versions
LISTS = 10  # calls of /v1/models a round


def cells(registered: Sequence[int], active: Sequence[int]) -> list[tuple[int, int]]:
    """What is measured: (registered, active), with no more active than there are."""
    found = {(size, min(size, number)) for size in registered for number in active}
    return sorted(
        (size, number)
        for size, number in found
        if number in active or number == size == min(registered)
    )


def growth_ratios(runs: Sequence[Mapping[str, Any]]) -> dict[str, Ratio]:
    """Each cell against the smallest registry, and against the smallest with as many active.

    Args:
        runs: Each with ``round``, ``registered``, ``active``, ``requests_per_s``, ``ttft_ms_p50``.
    """
    by_cell: dict[tuple[int, int], dict[int, Mapping[str, Any]]] = {}
    for run in runs:
        by_cell.setdefault((run["registered"], run["active"]), {})[run["round"]] = run
    smallest = min(by_cell)
    found = {}
    for cell in sorted(by_cell):
        same = min(other for other in by_cell if other[1] == cell[1])
        for below, name in ((smallest, f"{smallest[0]}_registered"), (same, "fewest_registered")):
            rounds = sorted(by_cell[cell].keys() & by_cell[below].keys())
            if cell == below or not rounds:
                continue
            both = [(by_cell[cell][number], by_cell[below][number]) for number in rounds]
            tail = f"{name}_r{cell[0]}_a{cell[1]}"
            found[f"throughput_vs_{tail}"] = spread(
                [a["requests_per_s"] / b["requests_per_s"] for a, b in both]
            )
            found[f"ttft_ms_over_{tail}"] = spread(
                [a["ttft_ms_p50"] - b["ttft_ms_p50"] for a, b in both]
            )
    return found


def percentiles(milliseconds: Sequence[float]) -> dict[str, float | int]:
    """Count, median and 95th percentile."""
    return {
        "count": len(milliseconds),
        "ms_p50": round(float(np.percentile(milliseconds, 50)), 2),
        "ms_p95": round(float(np.percentile(milliseconds, 95)), 2),
    }


def one_token_ms(http: httpx.Client, model: str) -> float:
    """Milliseconds of a request for one token; raises httpx.HTTPStatusError if it fails."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    begun = time.perf_counter()
    http.post("/v1/chat/completions", json=body).raise_for_status()
    return (time.perf_counter() - begun) * 1000


def list_models(http: httpx.Client) -> tuple[float, int]:
    """Milliseconds of a listing of all models, and how many it names."""
    begun = time.perf_counter()
    answer = http.get("/v1/models").raise_for_status()
    return (time.perf_counter() - begun) * 1000, len(answer.json()["data"])


class Size:
    """A server with so many versions registered, and the times taken on it.

    Args:
        setting: What all servers share; its adapters are registered, over and over.
        number: How many versions.
    """

    def __init__(self, setting: targets.Setting, number: int) -> None:
        from serving import ports

        lobs = {k: v for k, v in setting.config["lobs"].items() if k not in setting.adapters}
        bare = replace(setting, adapters={}, config=setting.config | {"lobs": lobs})
        self.registered = number
        self.target = targets.switchboard(
            bare, ports.free(), f"switchboard_{number}", role="trainer"
        )
        folders = list(setting.adapters.values())
        chosen = [("care", folders[i % len(folders)]) for i in range(number)]
        file = setting.folder / self.target.name / "config.yaml"
        self.versions = targets.publish(file, chosen, live=False)
        self.times: dict[str, list[float]] = {"cold": [], "warm": [], "models": []}
        self.listed = 0
        self._unused = self.versions[::-1]

    def time_requests(self, cold: int, most_active: int) -> None:
        """Time `cold` first requests, the same again, and listings of the models."""
        headers = {"Authorization": f"Bearer {self.target.key}"}
        with httpx.Client(base_url=self.target.url, headers=headers, timeout=120) as http:
            one_token_ms(http, self.target.model)  # connects
            free = max(0, len(self._unused) - most_active)
            for model in [self._unused.pop(0) for _ in range(min(cold, free))]:
                self.times["cold"].append(one_token_ms(http, model))
                self.times["warm"].append(one_token_ms(http, model))
            for _ in range(LISTS):
                milliseconds, self.listed = list_models(http)
                self.times["models"].append(milliseconds)

    def figures(self) -> dict[str, Any]:
        """The times, summed up."""
        found = {kind: percentiles(times) for kind, times in self.times.items() if times}
        return {**found, "models_listed": self.listed}


def measure(
    client: Client, sizes: Mapping[int, Size], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """All rounds, the sizes in turn."""
    runs = []
    plan = cells(options.registered, options.active)
    for number in range(options.rounds):
        for name in rotated([str(size) for size in sizes], number):
            size = sizes[int(name)]
            size.target.resume()
            for registered, active in plan:
                if registered != size.registered:
                    continue
                size.target.adapters = size.versions[:active]
                row = drive(
                    client,
                    size.target,
                    "adapters",
                    options.concurrency,
                    options.requests,
                    seed(number, "adapters", options.concurrency + active),
                )
                runs.append({"round": number, "registered": registered, "active": active, **row})
                say(
                    f"round {number}: {registered} registered, {active} active: "
                    f"{row['requests_per_s']:.1f} req/s, TTFT p50 {row['ttft_ms_p50']:.0f} ms"
                )
            size.time_requests(options.cold, max(options.active))
            size.target.pause()
    return runs


def main() -> None:
    """Measure and write the result."""
    numbers = lambda text: sorted(int(n) for n in text.split(","))  # noqa: E731
    parser = argparse.ArgumentParser(description="Growth benchmark; see the head of this file.")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--registered", type=numbers, default=[1, 10, 100, 1000])
    parser.add_argument("--active", type=numbers, default=[8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=128, help="of a cell")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--cold", type=int, default=10, help="first requests a round")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    exit_on_sigterm()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        setting = prepare(options.config, folder, min(DISTINCT, max(options.registered)))
        setting.config["adapters"]["max_cached"] = 128
        sizes: dict[int, Size] = {}
        try:
            with Client(folder / "client.log") as client:
                for registered in options.registered:
                    begun = time.monotonic()
                    sizes[registered] = size = Size(setting, registered)
                    took = time.monotonic() - begun
                    size.target.start(folder / f"{size.target.name}.log")
                    warm = seed(WARM_ROUND, "adapters", options.concurrency)
                    size.target.adapters = size.versions[: min(options.active)]
                    drive(client, size.target, "adapters", options.concurrency, 16, warm)
                    size.target.pause()
                    say(f"{registered} registered in {took:.1f} s; the server answers")
                runs = measure(client, sizes, options)
        finally:
            with ThreadPoolExecutor(len(sizes) or 1) as pool:
                list(pool.map(Target.stop, [size.target for size in sizes.values()]))
    result = {
        "ratios": growth_ratios(runs),
        "figures": {str(number): size.figures() for number, size in sizes.items()},
        "environment": environment(),
        "commit": commit(),
        "time": now(),
        "runs": runs,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "growth.json", result)
    for key, value in result["ratios"].items():
        say(f"{key}: {value['median']} [{value['min']}, {value['max']}]")
    for number, figures in result["figures"].items():
        say(f"{number} registered: {figures}")


if __name__ == "__main__":
    main()
