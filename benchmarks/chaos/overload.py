"""Overload drill: one line of business floods the server; what do it and another line notice?

    python benchmarks/chaos/overload.py [--rounds 3] [--phase-s 8] [--rate 60]

One replica. In each round, three phases: ``quiet`` (sales alone, a few clients), ``busy`` (also
care, with just as many clients as it has places) and ``flood`` (care asks many times faster than it
is answered, and never heeds Retry-After). Under each of the settings: as shipped, where nothing of
`limits` is set; care kept to a small share; and the default sharing of eight places. Then a
deadline passes and a client leaves, with and without streaming: how soon is the engine idle, and
after how many of the tokens asked for? Writes
``benchmarks/results/chaos/overload.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import yaml

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
import targets
from environment import commit, environment, now

RESULTS = Path(__file__).parents[1] / "results" / "chaos"
CONVERSATION = [{"role": "customer", "text": "My kettle arrived broken. What can you do for me?"}]
TOKENS = 24
LONG_TOKENS = 900
DEADLINE_S = 1.0
SALES_CLIENTS = 2
PLACES = 8
SETTINGS: dict[str, dict[str, Any]] = {
    "shipped": {"busy_clients": 6},
    "default": {"borrow": 0.5, "weights": {"care": 1, "sales": 1}, "busy_clients": 6},
    "strict": {"borrow": 0.0, "weights": {"care": 1, "sales": 7}, "busy_clients": 1},
}


Calls = list[tuple[int, float, float]]


@dataclass(frozen=True)
class Load:
    """What one line's clients do in a phase.

    Attributes:
        lob: The line of business.
        url: The server.
        key: The API key.
        start_at: `time.time` at which it begins.
        duration_s: For how long requests begin.
        clients: Clients that each ask again as soon as they are answered.
        rate: Requests per second, whether answered or not; instead of `clients`.
    """

    lob: str
    url: str
    key: str
    start_at: float
    duration_s: float
    clients: int = 0
    rate: float = 0.0


def run(load: Load) -> Calls:
    """Carry out a load, in a process of its own.

    Returns:
        Status, latency in ms and queue wait in ms of every request.
    """
    return asyncio.run(_run(load))


async def _run(load: Load) -> Calls:
    done: Calls = []
    body = {"lob": load.lob, "conversation": CONVERSATION, "max_tokens": TOKENS, "ignore_eos": True}
    end_at = load.start_at + load.duration_s

    # Not httpx, whose pool searches all its connections for each request: the flood's own client
    # would then take a core from the server.
    async with aiohttp.ClientSession(
        load.url,
        headers={"Authorization": f"Bearer {load.key}"},
        connector=aiohttp.TCPConnector(limit=0),
    ) as http:

        async def ask() -> None:
            began = time.perf_counter()
            async with http.post("/v1/suggestions", json=body) as answer:
                await answer.read()
            latency_ms = (time.perf_counter() - began) * 1e3
            queued_ms = float(answer.headers.get("x-switchboard-queue-ms", 0))
            done.append((answer.status, latency_ms, queued_ms))

        async def client() -> None:
            while time.time() < end_at:
                await ask()

        async def open_loop() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(int(load.rate * load.duration_s)):
                    await asyncio.sleep(load.start_at + number / load.rate - time.time())
                    group.create_task(ask())

        await asyncio.sleep(load.start_at - time.time())
        await asyncio.gather(*[client() for _ in range(load.clients)])
        if load.rate:
            await open_loop()
    return done


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that `share` of the values do not exceed."""
    if not values:
        return None
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 2)


def figures(calls: Calls) -> dict[str, Any]:
    """What one line's clients saw in a phase."""
    accepted = [latency for status, latency, _ in calls if status == 200]
    refused = [latency for status, latency, _ in calls if status == 429]
    return {
        "accepted": len(accepted),
        "refused": len(refused),
        "other": len(calls) - len(accepted) - len(refused),
        "latency_ms_p50": percentile(accepted, 0.5),
        "latency_ms_p99": percentile(accepted, 0.99),
        "queue_ms_p50": percentile([queued for status, _, queued in calls if status == 200], 0.5),
        "time_to_429_ms_p50": percentile(refused, 0.5),
        "time_to_429_ms_p99": percentile(refused, 0.99),
    }


def phase(
    pool: ProcessPoolExecutor,
    target: targets.Target,
    name: str,
    chosen: dict[str, Any],
    options: Any,
) -> dict[str, Calls]:
    """Run a phase; returns each line's calls."""
    common = (target.url, target.key, time.time() + 1.0, options.phase_s)
    loads = [Load("sales", *common, clients=SALES_CLIENTS)]
    if name == "busy":
        loads.append(Load("care", *common, clients=chosen["busy_clients"]))
    if name == "flood":
        loads.append(Load("care", *common, rate=options.rate))
    calls = pool.map(run, loads)
    return {load.lob: found for load, found in zip(loads, calls, strict=True)}


def _engine(http: httpx.Client) -> tuple[float, float]:
    """Sequences that the engine runs, and tokens that it has made so far."""
    asked = {"lob": "sales", "conversation": CONVERSATION, "max_tokens": 1}
    http.post("/v1/suggestions", json=asked).raise_for_status()  # it reports when it steps
    found = {"vllm:num_requests_running": 0.0, "vllm:generation_tokens_total": 0.0}
    for line in http.get("/metrics").text.splitlines():
        name = line.partition("{")[0]
        if name in found:
            found[name] += float(line.rpartition(" ")[2])
    return found["vllm:num_requests_running"], found["vllm:generation_tokens_total"]


def cut_short(target: targets.Target) -> list[dict[str, Any]]:
    """Let deadlines pass and clients leave, and see when the engine is idle."""
    results = []
    headers = {"Authorization": f"Bearer {target.key}"}
    with httpx.Client(base_url=target.url, headers=headers, timeout=60) as http:
        for model, stream in (("base", False), ("base", True), ("care", False), ("care", True)):
            body = {
                "model": model,
                "messages": [{"role": "user", "content": "customer: hello"}],
                "max_tokens": LONG_TOKENS,
                "ignore_eos": True,
                "stream": stream,
            }
            _, before = _engine(http)
            ended: str | int = "left"
            try:
                # The base model has a deadline; from the others the client runs away.
                patience = 60 if model == "base" else DEADLINE_S
                with http.stream("POST", "/v1/chat/completions", json=body, timeout=patience) as a:
                    ended = a.status_code
                    began = time.monotonic()
                    for line in a.iter_lines():
                        if '"error"' in line:
                            ended = json.loads(line.removeprefix("data: "))["error"]["code"]
                        if model != "base" and time.monotonic() - began > DEADLINE_S:
                            ended = "left"
                            break
            except httpx.ReadTimeout:
                pass
            cut_at = time.monotonic()
            running, tokens = _engine(http)
            while running:
                running, tokens = _engine(http)
            results.append(
                {
                    "cause": "deadline" if model == "base" else "client left",
                    "stream": stream,
                    "ended": ended,
                    "idle_after_s": round(time.monotonic() - cut_at, 3),
                    "tokens": tokens - before,
                    "tokens_asked": LONG_TOKENS,
                }
            )
            print(results[-1])
    return results


def measure(
    setting: str, config: dict[str, Any], folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Start a server with one of the settings and run all rounds."""
    from serving import ports

    chosen = SETTINGS[setting]
    lobs = config["lobs"]
    limits: dict[str, Any] = {"base": {"timeout_s": DEADLINE_S}}
    if weights := chosen.get("weights"):
        lobs = {
            name: lob | {"limits": {"weight": weights[name], "max_queue": 2}}
            for name, lob in lobs.items()
        }
        limits |= {"max_inflight": PLACES, "borrow": chosen["borrow"]}
    own = folder / setting
    own.mkdir()
    shared = targets.Setting(config | {"lobs": lobs, "limits": limits}, [], {}, own)
    target = targets.switchboard(shared, ports.free())
    calls: dict[tuple[str, str], Calls] = {}
    rounds = []
    cut: list[dict[str, Any]] = []
    spawn = multiprocessing.get_context("spawn")
    try:
        target.start(folder / f"{setting}.log")
        cut = cut_short(target)
        with ProcessPoolExecutor(2, mp_context=spawn) as pool:
            phase(pool, target, "busy", chosen, argparse.Namespace(phase_s=2.0))  # to warm up
            for number in range(options.rounds):
                seen: dict[str, Any] = {"round": number}
                for name in ("quiet", "busy", "flood"):
                    for lob, found in phase(pool, target, name, chosen, options).items():
                        calls.setdefault((name, lob), []).extend(found)
                        seen[f"{lob}_{name}"] = figures(found)
                rounds.append(seen)
                print(f"{setting} round {number}: {seen['sales_quiet']} {seen['sales_flood']}")
    finally:
        target.stop()
    return {
        "limits": limits | ({"weights": weights, "max_queue": 2} if weights else {}),
        "all_rounds": {f"{lob}_{name}": figures(of) for (name, lob), of in calls.items()},
        "ratios": {
            f"{lob}_{figure}_flood_over_{name}": spread(
                [r[f"{lob}_flood"][figure] / r[f"{lob}_{name}"][figure] for r in rounds]
            )
            for lob, name in (("sales", "quiet"), ("sales", "busy"), ("care", "busy"))
            for figure in ("latency_ms_p50", "latency_ms_p99")
        },
        "cut_short": cut,
        "rounds": rounds,
    }


def spread(values: list[float]) -> dict[str, float | int]:
    """Median, extremes and number of rounds."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "rounds": len(values),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=targets.ROOT / "configs" / "demo.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--phase-s", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=60.0, help="the flood's requests per second")
    parser.add_argument("--settings", default="shipped,strict,default")
    options = parser.parse_args()
    config = yaml.safe_load(options.config.read_text())
    config["model"] = str((targets.ROOT / config["model"]).absolute())
    config["prompts"] = str(targets.ROOT / config["prompts"])
    result: dict[str, Any] = {
        "flood_requests_per_s": options.rate,
        "phase_s": options.phase_s,
        "environment": environment(),
        "commit": commit(),
        "time": now(),
    }
    with tempfile.TemporaryDirectory() as name:
        for setting in options.settings.split(","):
            result[setting] = measure(setting, config, Path(name), options)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "overload.json").write_text(json.dumps(result, indent=1) + "\n")
    for setting in options.settings.split(","):
        for key, value in result[setting]["ratios"].items():
            print(f"{setting} {key}: {value['median']} [{value['min']}, {value['max']}]")
        flood = result[setting]["all_rounds"]["care_flood"]
        print(
            f"{setting}: 429 after {flood['time_to_429_ms_p50']} ms (p50), "
            f"{flood['time_to_429_ms_p99']} ms (p99)"
        )


if __name__ == "__main__":
    main()
