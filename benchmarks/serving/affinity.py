"""Conversation affinity: ``python benchmarks/serving/affinity.py``.

Two replicas behind HAProxy. Multi-turn conversations, each turn's prompt holding all turns before
it, are driven through the same server with the header ``x-conversation-id`` (affinity) and without
it (round robin), in turn, A B B A …, each time with fresh texts so that neither finds the other's
cache. Reports the share of prompt tokens that the engine found in its prefix cache, TTFT, and the
busiest replica's share. Writes ``benchmarks/results/affinity.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import targets
from drive import prepare
from target import ROOT

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

RESULTS = Path(__file__).parents[1] / "results"
DETAILS = {"enable_prompt_tokens_details": True}
WORDS = "order refund parcel invoice address card plan upgrade delay return check please".split()


@dataclass
class Seen:
    """What one phase's requests showed."""

    ttft_ms: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    replicas: Counter[str] = field(default_factory=Counter)


async def converse(
    http: httpx.AsyncClient, model: str, name: str, turns: int, header: bool, seen: Seen
) -> None:
    """Go through one conversation, waiting for each answer before the next turn."""
    words = random.Random(name)
    messages: list[dict[str, str]] = []
    for turn in range(turns):
        text = " ".join(words.choice(WORDS) for _ in range(60))
        messages.append({"role": "user", "content": f"{name} {turn} {text}"})
        body = {"model": model, "messages": messages, "max_tokens": 16, "ignore_eos": True}
        body |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
        headers = {"x-conversation-id": name} if header else {}
        begin, answer, usage = time.perf_counter(), "", {}
        async with http.stream(
            "POST", "/v1/chat/completions", json=body, headers=headers
        ) as response:
            response.raise_for_status()
            first = True
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if event["choices"] and event["choices"][0]["delta"].get("content"):
                    if first:
                        seen.ttft_ms.append((time.perf_counter() - begin) * 1e3)
                        first = False
                    answer += event["choices"][0]["delta"]["content"]
                usage = event.get("usage") or usage
        if turn:  # the first turn has nothing to find
            seen.prompt_tokens += usage["prompt_tokens"]
            seen.cached_tokens += (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        record = (await http.get(f"/v1/interactions/{event['id']}")).json()
        seen.replicas[record["replica"]] += 1
        messages.append({"role": "assistant", "content": answer})


async def phase(
    url: str, key: str, model: str, name: str, load: argparse.Namespace, *, header: bool
) -> dict[str, Any]:
    """Run all conversations of a phase, `concurrency` at a time."""
    seen = Seen()
    places = asyncio.Semaphore(load.concurrency)
    auth = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=auth, timeout=120) as http:

        async def one(number: int) -> None:
            async with places:
                await converse(http, model, f"{name}-{number}", load.turns, header, seen)

        await asyncio.gather(*(one(number) for number in range(load.conversations)))
    return {
        "affinity": header,
        "cached_share": seen.cached_tokens / seen.prompt_tokens,
        "ttft_ms_p50": statistics.median(seen.ttft_ms),
        "ttft_ms_p95": statistics.quantiles(seen.ttft_ms, n=20)[-1],
        "busiest_replica_share": max(seen.replicas.values()) / seen.replicas.total(),
    }


def median(runs: list[dict[str, Any]], name: str, *, header: bool) -> float:
    """Median over the rounds of one side."""
    return statistics.median(run[name] for run in runs if run["affinity"] is header)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--conversations", type=int, default=24)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--concurrency", type=int, default=6)
    options = parser.parse_args()
    from serving import ports

    runs = []
    with tempfile.TemporaryDirectory() as name:
        setting = prepare(options.config, Path(name), count=0)
        two = {"replicas": 2, "engine": setting.config["engine"] | DETAILS}
        setting = replace(setting, config=setting.config | two)
        server = targets.switchboard(setting, ports.free(), role="admin")
        try:
            server.start(Path(name) / "server.log")
            for number in range(options.rounds):
                order = (True, False) if number % 2 == 0 else (False, True)
                for header in order:
                    tag = f"r{number}{'a' if header else 'n'}"
                    run = asyncio.run(
                        phase(server.url, server.key, server.model, tag, options, header=header)
                    )
                    runs.append({"round": number, **run})
                    print(runs[-1], flush=True)
        finally:
            server.stop()
    result = {
        "with": {k: median(runs, k, header=True) for k in list(runs[0])[2:]},
        "without": {k: median(runs, k, header=False) for k in list(runs[0])[2:]},
        "environment": environment(),
        "commit": commit(),
        "time": now(),
        "runs": runs,
    }
    (RESULTS / "affinity.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("with", "without")}, indent=1))


if __name__ == "__main__":
    main()
