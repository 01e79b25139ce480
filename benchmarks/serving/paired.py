"""Switchboard beside bare vLLM, both up, request by request: ``make bench-paired``.

    python benchmarks/serving/paired.py [--requests 200] [--concurrency 8,32,64] [--rounds 3]
                                        [--seconds 20] [--switchboard switchboard]

Two bare `vllm serve`, `vllm` and `vllm_again`, are the same server twice: what they differ by is
the machine's noise, and no difference below it is one. All three are up all the time, none is
stopped by signals; engines run in their API server's process tree with the in-process executor,
so an idle one costs next to nothing.

One at a time: each of so many prompts goes to each server, in an order drawn anew for each prompt,
so that servers differ by no more than a few hundred milliseconds of the machine's history. Reported
are medians of the paired differences of time to first token and of the whole answer's, with 95 %
intervals (bootstrap over prompts). More in flight: cells of so many seconds, the servers in turns,
ratios of throughput within a round.

Writes ``benchmarks/results/paired.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import ratios
import results
import targets
from client import Client
from drive import MODEL, drive, exit_on_sigterm, prepare, say
from target import Target
from workloads import CALIBRATION_ROUND, WORKLOADS, requests, seed

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

NOISE = "vllm_again"
RESAMPLES = 2000
WARMUPS = 20


class Times(NamedTuple):
    """Milliseconds from a request's first byte to its answer's first token, and to its end."""

    ttft_ms: float
    e2el_ms: float


def prompts(count: int) -> list[str]:
    """Return texts of as many tokens as `suggest` has, no two with a prefix in common."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    chance = random.Random(1)
    ids = [n for n in range(len(tokenizer)) if n not in tokenizer.all_special_ids]
    long = WORKLOADS["suggest"].inputs
    return [tokenizer.decode(chance.choices(ids, k=long)) for _ in range(count)]


def ask(client: httpx.Client, target: Target, prompt: str) -> Times:
    """Ask a server once, streaming.

    Raises:
        RuntimeError: It did not answer with a stream of tokens.
    """
    body = {
        "model": target.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": WORKLOADS["suggest"].outputs,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    url, headers = f"{target.url}/v1/chat/completions", {"Authorization": f"Bearer {target.key}"}
    began, first = time.perf_counter(), None
    with client.stream("POST", url, json=body, headers=headers) as answer:
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"{target.name}: {answer.status_code} {answer.read()[:300]!r}")
        for line in answer.iter_lines():
            if first is None and line.startswith("data: {") and '"content":"' in line:
                delta = json.loads(line[6:])["choices"][0]["delta"]
                first = time.perf_counter() if delta.get("content") else None
    if first is None:
        raise RuntimeError(f"{target.name}: no token came")
    return Times((first - began) * 1e3, (time.perf_counter() - began) * 1e3)


def one_at_a_time(servers: Sequence[Target], texts: Sequence[str]) -> dict[str, list[Times]]:
    """Send each text to each server, in an order of its own; return the times by server."""
    chance = random.Random(2)
    found: dict[str, list[Times]] = {server.name: [] for server in servers}
    with httpx.Client(timeout=120) as client:
        for number, text in enumerate(texts):
            for server in chance.sample(servers, len(servers)):
                times = ask(client, server, text)
                if number >= WARMUPS:
                    found[server.name].append(times)
    return found


def difference(
    above: Sequence[float],
    below: Sequence[float],
    middle: Callable[[Sequence[float]], float] = statistics.median,
) -> dict[str, float]:
    """Return the median of paired differences with its 95 % interval, as given in."""
    chance = random.Random(3)
    pairs = [a - b for a, b in zip(above, below, strict=True)]
    drawn = sorted(middle(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    low, high = drawn[round(RESAMPLES * 0.025)], drawn[round(RESAMPLES * 0.975) - 1]
    return {"median": round(middle(pairs), 3), "low": round(low, 3), "high": round(high, 3)}


def summary(found: dict[str, list[Times]]) -> dict[str, Any]:
    """Return each server's percentiles, and its paired differences to bare vLLM."""
    out: dict[str, Any] = {}
    for name, times in found.items():
        for what in Times._fields:
            values = [getattr(one, what) for one in times]
            cuts = statistics.quantiles(values, n=100)
            out.setdefault(name, {})[what] = {
                **{f"p{p}": round(cuts[p - 1], 2) for p in (50, 95, 99)},
                **(
                    {"over_vllm": difference(values, [getattr(o, what) for o in found["vllm"]])}
                    if name != "vllm"
                    else {}
                ),
            }
    return out


def cells(client: Client, servers: list[Target], options: argparse.Namespace) -> list[dict]:
    """Drive the servers in turns with several requests in flight; return the rows."""
    runs = []
    for concurrency in options.concurrency:
        some = requests(0, 0, concurrency)
        number = seed(CALIBRATION_ROUND, "suggest", concurrency)
        row = drive(client, servers[0], "suggest", concurrency, some, number)
        count = requests(row["requests_per_s"], options.seconds, concurrency)
        for round_ in range(options.rounds):
            for name in ratios.rotated([server.name for server in servers], round_):
                server = next(one for one in servers if one.name == name)
                number = seed(round_, "suggest", concurrency)
                row = drive(client, server, "suggest", concurrency, count, number)
                runs.append({"round": round_, **row})
                say(f"c{concurrency} round {round_} {name}: {row['requests_per_s']:.1f} req/s")
    return runs


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Paired serving benchmark; see this file's head.")
    parser.add_argument("--config", type=Path, default=targets.ROOT / "configs" / "demo.yaml")
    parser.add_argument("--switchboard", default="switchboard", choices=list(targets.MAKERS))
    parser.add_argument("--requests", type=int, default=200, help="one at a time, to each server")
    parser.add_argument(
        "--concurrency", type=lambda text: [int(c) for c in text.split(",")], default=[8, 32, 64]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a cell")
    parser.add_argument("--results", type=Path, default=results.RESULTS)
    return parser.parse_args()


def main() -> None:
    """Measure and write the result."""
    from serving import ports

    options = parse()
    exit_on_sigterm()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        setting = prepare(options.config, folder)
        servers: list[Target] = []
        try:
            for kind, called in (
                ("vllm", "vllm"),
                ("vllm", NOISE),
                (options.switchboard, options.switchboard),
            ):
                servers.append(targets.MAKERS[kind](setting, ports.free(), called))
                servers[-1].start(folder / f"{called}.log")
                say(f"{called} answers")
            found = one_at_a_time(servers, prompts(options.requests + WARMUPS))
            alone = summary(found)
            say(json.dumps(alone, indent=1))
            with Client(folder / "client.log") as client:
                runs = cells(client, servers, options)
        finally:
            for server in servers:
                server.stop()
    result = {
        "one_at_a_time": {"requests": options.requests, **alone},
        "ratios": ratios.ratios(runs),
        "environment": environment(),
        "commit": commit(),
        "time": now(),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "runs": runs,
    }
    results.write_json(options.results / "paired.json", result)
    for key, value in result["ratios"].items():
        say(f"{key}: {value['median']} [{value['min']}, {value['max']}]")


if __name__ == "__main__":
    main()
