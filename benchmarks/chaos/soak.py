"""Soak: hours in minutes. Constant load and swap after swap: what fails, and does memory grow?

    python benchmarks/chaos/soak.py [--minutes 10] [--every 10] [--load 0.8] [--versions 4]
    python benchmarks/chaos/soak.py --swaps 1000

The first form measures what the server can do (closed loop), then sends `--load` of that as
Poisson arrivals, half of them streamed, and promotes one of `--versions` adapters every `--every`
seconds. It writes ``benchmarks/results/chaos/soak.json``: failed requests, latency by minute, and
each process's resident memory with its slope. The second form promotes as fast as it can, under
light load, and writes ``benchmarks/results/chaos/swaps.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil
from cluster import LOB, RESULTS, Cluster, result, running

CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]
MAX_TOKENS = 16
SAMPLE_S = 5.0
CAPACITY_S = 10.0
CAPACITY_CLIENTS = 16
ROLES = ("replica", "engine_core", "haproxy", "proxy_actor", "controller", "coordinator")


@dataclass
class Traffic:
    """What clients saw: (seconds since the start, latency in s) of each answer, and faults."""

    cluster: Cluster
    http: aiohttp.ClientSession
    answers: list[tuple[float, float]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    async def ask(self, *, stream: bool) -> None:
        """Ask once and note how it went."""
        body = {"lob": LOB, "conversation": CONVERSATION, "max_tokens": MAX_TOKENS}
        asked = time.monotonic()
        try:
            async with self.http.post("/v1/suggestions", json=body | {"stream": stream}) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as exc:
            self.faults[type(exc).__name__] += 1
            return
        version = answer.headers.get("x-switchboard-version", "")
        if answer.status != 200:
            self.faults[f"HTTP {answer.status}"] += 1
        elif stream and not text.endswith("data: [DONE]\n\n"):
            self.faults["cut short"] += 1
        elif f'"model":"{version}"' not in text.replace('": "', '":"'):
            self.faults["another version than the header says"] += 1
        else:
            now = time.monotonic()
            self.answers.append((now - self.began, now - asked))
            self.versions[version] += 1

    async def closed(self, clients: int, seconds: float) -> float:
        """Let clients ask without a pause; returns answers a second."""
        until = time.monotonic() + seconds

        async def client(number: int) -> None:
            while time.monotonic() < until:
                number += 1
                await self.ask(stream=number % 2 == 0)

        before, started = len(self.answers), time.monotonic()
        await asyncio.gather(*map(client, range(clients)))
        return (len(self.answers) - before) / (time.monotonic() - started)

    async def open(self, rate: float, seconds: float) -> None:
        """Send Poisson arrivals at `rate` a second, whether or not answers come."""
        started = due = time.monotonic()
        asked: set[asyncio.Task[None]] = set()
        while (due := due + random.expovariate(rate)) < started + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.ask(stream=random.random() < 0.5))
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)


def session(cluster: Cluster) -> aiohttp.ClientSession:
    """A client with a key and without a limit on connections."""
    return aiohttp.ClientSession(
        cluster.server.url,
        headers={"Authorization": f"Bearer {cluster.server.keys['service']}"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=120),
    )


def memory(cluster: Cluster) -> dict[str, float]:
    """Resident MiB of each process, by role and number."""
    found = {}
    for role in ROLES:
        for number, process in enumerate(cluster.processes(role)):
            try:
                found[f"{role}-{number}"] = round(process.memory_info().rss / 2**20, 2)
            except psutil.NoSuchProcess:
                continue
    return found


def growth(samples: list[dict[str, Any]], clock: str, per: float) -> dict[str, dict[str, float]]:
    """Each process's memory: first, last, and the least-squares slope over the second half.

    Args:
        samples: Rows of `clock` and `rss_mib`.
        clock: What it is a slope over.
        per: How many of those the slope is given for.
    """
    half = samples[len(samples) // 2 :]
    found = {}
    for name in samples[-1]["rss_mib"]:
        points = [(row[clock], row["rss_mib"][name]) for row in half if name in row["rss_mib"]]
        slope = statistics.linear_regression(*zip(*points, strict=True)).slope if points[1:] else 0
        found[name] = {
            "first": next(row["rss_mib"][name] for row in samples if name in row["rss_mib"]),
            "last": samples[-1]["rss_mib"][name],
            "slope": round(slope * per, 3),
        }
    return found


def by_minute(answers: list[tuple[float, float]], start: float) -> list[dict[str, float]]:
    """Latency of each minute, in ms."""
    minutes: dict[int, list[float]] = {}
    for at, seconds in answers:
        if at >= start:
            minutes.setdefault(int((at - start) // 60), []).append(seconds * 1e3)
    rows = []
    for minute, values in sorted(minutes.items()):
        values.sort()
        rows.append(
            {
                "minute": minute,
                "answers": len(values),
                "p50_ms": round(values[len(values) // 2], 1),
                "p99_ms": round(values[int(len(values) * 0.99)], 1),
            }
        )
    return rows


async def soak(cluster: Cluster, options: argparse.Namespace) -> dict[str, Any]:
    """Load and swaps for a while."""
    swaps: list[float] = []
    failed_swaps: list[str] = []
    samples: list[dict[str, Any]] = []
    async with session(cluster) as http:
        traffic = Traffic(cluster, http)
        await traffic.closed(CAPACITY_CLIENTS, CAPACITY_S / 2)  # warm
        capacity = await traffic.closed(CAPACITY_CLIENTS, CAPACITY_S)
        rate = options.load * capacity
        print(f"{capacity:.1f} requests/s at most; {rate:.1f} for {options.minutes:g} min")
        before, start = len(traffic.answers), time.monotonic()

        async def swap() -> None:
            number = 0
            while True:
                await asyncio.sleep(options.every)
                number += 1
                version = cluster.versions[number % len(cluster.versions)]
                try:
                    done = await asyncio.to_thread(cluster.promote, version)
                    swaps.append(done["seconds"])
                except Exception as exc:
                    failed_swaps.append(repr(exc))

        async def sample() -> None:
            while True:
                found = await asyncio.to_thread(memory, cluster)
                minute = round((time.monotonic() - start) / 60, 3)
                samples.append({"minute": minute, "rss_mib": found})
                await asyncio.sleep(SAMPLE_S)

        background = [asyncio.create_task(swap()), asyncio.create_task(sample())]
        await traffic.open(rate, options.minutes * 60)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
    return {
        "minutes": options.minutes,
        "capacity_requests_per_s": round(capacity, 2),
        "load": options.load,
        "requests": len(traffic.answers) - before + traffic.faults.total(),
        "failed": dict(traffic.faults),
        "failed_total": traffic.faults.total(),
        "swaps": len(swaps),
        "failed_swaps": failed_swaps,
        "swap_s_median": round(statistics.median(swaps), 3) if swaps else None,
        "swap_s_max": round(max(swaps), 3) if swaps else None,
        "answers_by_version": dict(traffic.versions),
        "latency": by_minute(traffic.answers, start - traffic.began),
        "rss_mib_slope_per_minute": growth(samples, "minute", 1),
        "samples": samples,
    }


async def swap_often(cluster: Cluster, count: int) -> dict[str, Any]:
    """Promote `count` times in a row, under light load."""
    seconds: list[float] = []
    samples: list[dict[str, Any]] = []
    every = max(1, count // 20)
    async with session(cluster) as http:
        traffic = Traffic(cluster, http)
        await traffic.closed(4, 3)

        async def load() -> None:
            while True:
                await traffic.ask(stream=True)
                await asyncio.sleep(0.05)

        clients = [asyncio.create_task(load()) for _ in range(2)]
        for number in range(1, count + 1):
            version = cluster.versions[number % len(cluster.versions)]
            done = await asyncio.to_thread(cluster.promote, version)
            seconds.append(done["seconds"])
            if number % every == 0:
                samples.append({"swaps": number, "rss_mib": memory(cluster)})
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return {
        "swaps": count,
        "failed_requests": dict(traffic.faults),
        "answers": len(traffic.answers),
        "swap_s_median": round(statistics.median(seconds), 3),
        "swap_s_max": round(max(seconds), 3),
        "rss_mib_slope_per_100_swaps": growth(samples, "swaps", 100),
        "samples": samples,
    }


def main() -> None:
    """Soak and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=10, help="seconds between swaps")
    parser.add_argument("--load", type=float, default=0.8, help="share of the capacity")
    parser.add_argument("--versions", type=int, default=4)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--swaps", type=int, help="only swap, so many times, as fast as possible")
    options = parser.parse_args()
    with running(versions=options.versions, replicas=options.replicas) as cluster:
        if options.swaps:
            name, figures = "swaps", asyncio.run(swap_often(cluster, options.swaps))
        else:
            name, figures = "soak", asyncio.run(soak(cluster, options))
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{name}.json"
    content = result(**figures, replicas=options.replicas)
    file.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: v for k, v in content.items() if k != "samples"}, indent=1))


if __name__ == "__main__":
    main()
