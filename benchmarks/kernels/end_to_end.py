"""Throughput of a real CPU vLLM engine: base, one adapter, eight mixed; plugin on and off.

A third engine has no LoRA at all (`no-lora`): vLLM compiles its base there, and does not where LoRA
is on. All engines run from the start and take turns within every round, so that a noisy machine
hits all cells alike. Run through ``run.py``.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny_checkpoint import make_adapter, make_checkpoint

ADAPTERS = 8
NO_LORA = "no-lora"


@dataclass(frozen=True)
class Workload:
    """What is measured: model folder (made when None), load and length of each request."""

    model: Path | None
    concurrency: int = 32
    requests: int = 96
    prompt_tokens: int = 64
    new_tokens: int = 32
    rank: int = 16
    rounds: int = 5
    dtype: str = "auto"


class Engine:
    """A worker process with one engine; ``switch`` is the plugin's. Without adapters: no LoRA."""

    def __init__(self, switch: str, model: Path, adapters: list[Path], load: Workload) -> None:
        environment = os.environ | {
            "SWITCHBOARD_KERNELS": switch if adapters else "off",
            "HF_HUB_OFFLINE": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
        }
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        command = [sys.executable, str(Path(__file__).with_name("engine_worker.py"))]
        command += ["--model", str(model), "--adapters", *map(str, adapters)]
        command += ["--dtype", load.dtype]
        command += ["--rank", str(load.rank), "--concurrency", str(load.concurrency)]
        command += ["--prompt-tokens", str(load.prompt_tokens)]
        command += ["--new-tokens", str(load.new_tokens)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.read()

    def read(self) -> dict[str, Any]:
        """Next answer; lines that vLLM prints in between are passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise RuntimeError(f"the engine ended with status {self.process.wait()}")

    def run(self, mix: list[str], requests: int) -> dict[str, Any]:
        """Run one workload and wait for its figures."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"mix": mix, "requests": requests}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the worker by ending its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def measure(load: Workload, scratch: Path) -> list[dict[str, Any]]:
    """Alternate all cells for ``load.rounds`` rounds.

    Args:
        load: What to measure.
        scratch: Folder for the checkpoint and the adapters.

    Returns:
        One row per cell and round: plugin, mix, round, req_per_s, tokens_per_s, ttft_ms and
        over_base, the rate over that of the base just before and after; of `no-lora` over the base
        with the plug-in in the same round.
    """
    model = load.model or make_checkpoint(
        scratch / "base",
        hidden=256,
        intermediate=768,
        layers=4,
        heads=4,
        kv_heads=4,
        vocabulary=4096,
        dtype="bfloat16",
    )
    adapters = [
        make_adapter(scratch / f"adapter-{i}", model, rank=load.rank, strength=0.2, seed=i)
        for i in range(1, ADAPTERS + 1)
    ]
    mixes = {
        "base": ["base"],
        "one": [adapters[0].name],
        "eight": [path.name for path in adapters],
        "half-base": [name for path in adapters[:4] for name in ("base", path.name)],
    }
    engines = {switch: Engine(switch, model, adapters, load) for switch in ("on", "off")}
    engines[NO_LORA] = Engine(NO_LORA, model, [], load)
    rows: list[dict[str, Any]] = []
    try:
        for switch, engine in engines.items():
            for mix in _mixes(mixes, switch).values():
                engine.run(mix, 2 * load.concurrency)  # loads adapters, warms every path
        for number in range(load.rounds):
            switches = list(engines) if number % 2 == 0 else list(reversed(engines))
            found = {
                switch: _one_round(
                    engines[switch], switch, _mixes(mixes, switch), number, load.requests
                )
                for switch in switches
            }
            ours = found["on"][0]["req_per_s"]
            found[NO_LORA][0]["over_base"] = found[NO_LORA][0]["req_per_s"] / ours
            for one in itertools.chain.from_iterable(found.values()):
                print(json.dumps(one), flush=True)
                rows.append(one)
    finally:
        for engine in engines.values():
            engine.close()
    return rows


def _mixes(mixes: dict[str, list[str]], switch: str) -> dict[str, list[str]]:
    """What an engine is asked for: without LoRA the base alone."""
    return {"base": mixes["base"]} if switch == NO_LORA else mixes


def _one_round(
    engine: Engine, switch: str, mixes: dict[str, list[str]], number: int, requests: int
) -> list[dict[str, Any]]:
    """Every mix between two runs of the base, which it is compared with."""
    base = [engine.run(mixes["base"], requests)]
    rows = []
    for mix, models in mixes.items():
        if mix == "base":
            continue
        run = engine.run(models, requests)
        base.append(engine.run(mixes["base"], requests))
        row = _figures(switch, mix, number, [run])
        row["over_base"] = (
            row["req_per_s"] / _figures(switch, "base", number, base[-2:])["req_per_s"]
        )
        rows.append(row)
    rows.insert(0, _figures(switch, "base", number, base) | {"over_base": 1.0})
    return rows


def _figures(switch: str, mix: str, number: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over some runs of one workload."""
    seconds = sum(run["seconds"] for run in runs)
    return {
        "plugin": switch,
        "mix": mix,
        "round": number,
        "req_per_s": sum(run["requests"] for run in runs) / seconds,
        "tokens_per_s": sum(run["tokens"] for run in runs) / seconds,
        "ttft_ms": sum(run["ttft_ms"] for run in runs) / len(runs),
    }
