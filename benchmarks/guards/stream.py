"""What guards of answers add to a stream: ``make bench-guarded-stream``.

    python benchmarks/guards/stream.py [--requests 80]

One real server, three lines of business on the same base: guards of answers off, flagging, and
blocking by sentence. The same text is forced through the engine each time (a choice of one, all of
whose claims the conversation supports), so that the lines differ in nothing else. One request at a
time, the lines in turn and each round in another order. Times are medians; ratios to the line
without guards are geometric means over rounds, with the bootstrap's 95 % intervals. Writes
``benchmarks/results/guarded-stream.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

sys.path += [str(Path(__file__).parents[2] / name) for name in ("", "benchmarks/serving")]
sys.path.append(str(Path(__file__).parents[1]))
import targets
from drive import prepare
from environment import commit, environment, now
from target import ROOT

from training.stats.bootstrap import mean

RESULTS = Path(__file__).parents[1] / "results"
ACTIONS = ("off", "flag", "block")
TIMES = ("ttft_ms", "first_sentence_ms", "total_ms")
WARMUPS = 5
TEXT = (
    "Thank you for waiting. Your order 4815162 is on its way. It comes on Friday. "
    "The fee of $25 is paid back to you. Please ask for Leonora at the door. Is that all?"
)
FIRST = TEXT.index(". ") + 1
CONVERSATION = [
    {"role": "customer", "text": "Where is my order 4815162, and what of the $25 fee?"},
    {
        "role": "knowledge",
        "text": "Order 4815162: on its way, Friday, ask for Leonora. Refund: $25.",
    },
    {"role": "agent", "text": "I will look that up. You will get a refund of the fee."},
]


def lines() -> dict[str, Any]:
    """Return the three lines of business of a configuration."""
    return {
        f"guards-{action}": {
            "guards": {
                "output": {
                    "claims": {"action": action},
                    "content": {"action": action},
                    "prompt_leak": action,
                }
            }
        }
        for action in ACTIONS
    }


def order(number: int) -> list[str]:
    """Return the lines' order in a round: each is first, second and last equally often."""
    place = number % len(ACTIONS)
    turned = [*ACTIONS[place:], *ACTIONS[:place]]
    return turned if number // len(ACTIONS) % 2 == 0 else turned[::-1]


def ask(http: httpx.Client, action: str) -> dict[str, float]:
    """Stream one answer; milliseconds to its first text, its first sentence and its end.

    Raises:
        RuntimeError: The answer is not the text that was forced.
    """
    body = {
        "model": f"guards-{action}",
        "messages": [
            {"role": "user" if turn["role"] == "customer" else "assistant", "content": turn["text"]}
            if turn["role"] != "knowledge"
            else {"role": "user", "content": f"Look-up: {turn['text']}"}
            for turn in CONVERSATION
        ],
        "structured_outputs": {"choice": [TEXT]},
        "max_tokens": 400,
        "temperature": 0,
        "stream": True,
    }
    began, said, found = time.perf_counter(), "", dict.fromkeys(TIMES, 0.0)
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                said += choice["delta"].get("content") or ""
            passed = (time.perf_counter() - began) * 1e3
            if said and not found["ttft_ms"]:
                found["ttft_ms"] = passed
            if len(said) >= FIRST and not found["first_sentence_ms"]:
                found["first_sentence_ms"] = passed
    found["total_ms"] = (time.perf_counter() - began) * 1e3
    if said != TEXT:
        raise RuntimeError(f"{action}: the answer is {said!r}")
    return found


def summary(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return each line's medians, and its ratios to the line without guards.

    Args:
        rounds: By line's action, the times of one request of each.
    """
    result: dict[str, Any] = {
        action: {
            name: round(statistics.median(one[action][name] for one in rounds), 2) for name in TIMES
        }
        for action in ACTIONS
    }
    for action in ACTIONS[1:]:
        for name in TIMES:
            logs = [math.log(one[action][name] / one["off"][name]) for one in rounds]
            found = mean(logs)
            result[action][f"{name.removesuffix('_ms')}_ratio"] = {
                end: round(math.exp(getattr(found, of)), 3)
                for end, of in (("value", "mean"), ("low", "low"), ("high", "high"))
            }
    return result


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--requests", type=int, default=80, help="of each line")
    options = parser.parse_args()
    from serving import ports

    with tempfile.TemporaryDirectory() as name:
        setting = prepare(options.config, Path(name), count=0)
        lobs = setting.config["lobs"] | lines()
        setting = replace(setting, config=setting.config | {"lobs": lobs})
        server = targets.switchboard(setting, ports.free())
        try:
            server.start(Path(name) / "server.log")
            headers = {"Authorization": f"Bearer {server.key}"}
            with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
                for number in range(WARMUPS):
                    for action in order(number):
                        ask(http, action)
                rounds = []
                for number in range(options.requests):
                    times = {action: ask(http, action) for action in order(number)}
                    rounds.append(times)
        finally:
            server.stop()
    result = {"requests_a_line": len(rounds), "characters": len(TEXT), **summary(rounds)}
    print(json.dumps(result, indent=1), flush=True)
    result |= {"environment": environment(), "commit": commit(), "time": now()}
    (RESULTS / "guarded-stream.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
