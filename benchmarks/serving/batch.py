"""Batches against live requests, and beside them: ``make bench-batch``.

    python benchmarks/serving/batch.py [--lines 64] [--live 60] [--rounds 3]

One real server on the demo's base model. **Throughput**: the same requests as a batch (from its
creation to its end, files and polls included) and sent live by as many clients as a batch may
hold places, in turn, each first in every other round. **Latency**: one live client at a time, with
a batch beside it and without, in turn. Every request has a text of its own, so that no prefix cache
favours the second. Ratios are geometric means over rounds. Writes
``benchmarks/results/batch.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai

sys.path += [str(Path(__file__).parents[2] / name) for name in ("", "benchmarks")]
import targets
from drive import prepare, say
from environment import commit, environment, now
from target import ROOT

RESULTS = Path(__file__).parents[1] / "results"
URL = "/v1/chat/completions"
FINAL = {"completed", "failed", "expired", "cancelled"}
POLL_S = 0.1
TOKENS = 32
LINE = "care"


def bodies(count: int, salt: str, tokens: int = TOKENS) -> list[dict[str, Any]]:
    """Return requests of the same size, none of which begins as another does."""
    return [
        {
            "model": LINE,
            "messages": [{"role": "user", "content": f"{salt}-{i:05}: where is my order?"}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        for i in range(count)
    ]


def lines(requests: Sequence[dict[str, Any]]) -> bytes:
    """Return requests as a batch's file."""
    rows = [
        {"custom_id": str(i), "method": "POST", "url": URL, "body": body}
        for i, body in enumerate(requests)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def start(client: openai.OpenAI, requests: Sequence[dict[str, Any]]) -> str:
    """Upload requests and make a batch of them; returns its id."""
    file = client.files.create(file=("batch.jsonl", lines(requests)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
    return batch.id


def finish(client: openai.OpenAI, id_: str, count: int) -> None:
    """Wait for a batch.

    Raises:
        RuntimeError: A line has no good answer.
    """
    while (batch := client.batches.retrieve(id_)).status not in FINAL:
        time.sleep(POLL_S)
    counts = batch.request_counts
    if batch.status != "completed" or counts is None or counts.completed != count:
        raise RuntimeError(f"the batch ended as {batch.status} with {counts}")


def ask(client: openai.OpenAI, body: dict[str, Any]) -> float:
    """Send one request live; returns its seconds."""
    began = time.perf_counter()
    fields = {k: v for k, v in body.items() if k != "ignore_eos"}
    client.chat.completions.create(**fields, extra_body={"ignore_eos": True})
    return time.perf_counter() - began


def as_batch(client: openai.OpenAI, requests: Sequence[dict[str, Any]]) -> float:
    """Answer requests as a batch; returns its seconds."""
    began = time.perf_counter()
    finish(client, start(client, requests), len(requests))
    return time.perf_counter() - began


def as_live(client: openai.OpenAI, requests: Sequence[dict[str, Any]], clients: int) -> float:
    """Send the same live by so many clients at once; returns the seconds of all."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for _ in pool.map(lambda body: ask(client, body), requests):
            pass
    return time.perf_counter() - began


def latencies(
    client: openai.OpenAI, salt: str, live: int, beside: Sequence[dict[str, Any]]
) -> list[float]:
    """Send live requests one after the other, with a batch beside them or without.

    Returns:
        Their seconds; with a batch only those that began while it was under way.

    Raises:
        RuntimeError: The batch ended before half of them had begun, so that it proves little.
    """
    requests = bodies(live, salt)
    if not beside:
        return [ask(client, body) for body in requests]
    id_ = start(client, beside)
    while client.batches.retrieve(id_).status == "validating":
        time.sleep(POLL_S)
    times = []
    for body in requests:
        if client.batches.retrieve(id_).status != "in_progress":
            break
        times.append(ask(client, body))
    with contextlib.suppress(openai.ConflictError):  # it has ended
        client.batches.cancel(id_)
    while client.batches.retrieve(id_).status not in FINAL:
        time.sleep(POLL_S)
    if len(times) < live / 2:
        raise RuntimeError("the batch beside ended too soon: give it more --beside lines")
    return times


def quantile(times: Sequence[float], share: float) -> float:
    """Return the smallest time that so many of them do not exceed."""
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)]


def summary(
    throughput: Sequence[dict[str, float]], alone: Sequence[float], beside: Sequence[float]
) -> dict[str, Any]:
    """Return the figures.

    Args:
        throughput: By round, the seconds as a batch and live.
        alone: Seconds of live requests without a batch.
        beside: The same beside one.
    """
    logs = [math.log(one["live"] / one["batch"]) for one in throughput]
    return {
        "batch_to_live_throughput": round(math.exp(statistics.fmean(logs)), 3),
        "batch_to_live_throughput_rounds": [round(math.exp(one), 3) for one in logs],
        **{
            f"live_p{p}_ms_{name}": round(1e3 * quantile(times, p / 100), 1)
            for name, times in (("alone", alone), ("beside_batch", beside))
            for p in (50, 99)
        },
        "live_requests": {"alone": len(alone), "beside_batch": len(beside)},
        "p99_ratio": round(quantile(beside, 0.99) / quantile(alone, 0.99), 3),
        "p50_ratio": round(quantile(beside, 0.5) / quantile(alone, 0.5), 3),
    }


def measure(client: openai.OpenAI, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all rounds."""
    as_live(client, bodies(8, "warm"), 4)
    throughput, alone, beside = [], list[float](), list[float]()
    for number in range(options.rounds):
        ways = {
            "batch": lambda n=number: as_batch(client, bodies(options.lines, f"{n}b")),
            "live": lambda n=number: as_live(
                client, bodies(options.lines, f"{n}l"), options.clients
            ),
        }
        order = list(ways) if number % 2 == 0 else list(ways)[::-1]
        throughput.append({name: ways[name]() for name in order})
        say(f"round {number + 1}: {throughput[-1]}")
        for with_batch in (False, True) if number % 2 == 0 else (True, False):
            batch = bodies(options.beside, f"{number}x", 4 * TOKENS) if with_batch else []
            found = latencies(client, f"{number}{with_batch}", options.live, batch)
            (beside if with_batch else alone).extend(found)
    return summary(throughput, alone, beside)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--lines", type=int, default=64, help="of a batch")
    parser.add_argument("--beside", type=int, default=2000, help="lines of a batch beside live")
    parser.add_argument("--live", type=int, default=60, help="live requests of a round and kind")
    parser.add_argument("--clients", type=int, default=16, help="live clients at once")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from serving import ports

    with tempfile.TemporaryDirectory() as name:
        setting = prepare(options.config, Path(name), count=0)
        server = targets.switchboard(setting, ports.free())
        try:
            server.start(Path(name) / "server.log")
            with openai.OpenAI(api_key=server.key, base_url=f"{server.url}/v1") as client:
                result = {"lines": options.lines, "clients": options.clients}
                result |= measure(client, options)
        finally:
            server.stop()
    say(json.dumps(result, indent=1))
    result |= {"environment": environment(), "commit": commit(), "time": now()}
    (RESULTS / "batch.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
