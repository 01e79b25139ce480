"""What the serving benchmarks share: preparing a run, and driving a server through a cell."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import targets
import yaml
from client import Client
from target import ROOT, Target
from workloads import ADAPTERS, WARMUPS, WORKLOADS, arguments

sys.path.append(str(ROOT))  # the tests' tiny checkpoints are in no wheel

MODEL = ROOT / ".cache" / "switchboard" / "demo-base"


def drive(
    client: Client, target: Target, workload: str, concurrency: int, count: int, seed_: int
) -> dict[str, Any]:
    """Let the client drive a server through one cell.

    Args:
        client: vLLM's.
        target: A server that answers.
        workload: A name in `WORKLOADS`.
        concurrency: Requests in flight.
        count: Requests in all.
        seed_: Of the prompts.

    Returns:
        The client's figures and what the server cost beside its engine: a row of the table.

    Raises:
        RuntimeError: A request failed.
    """
    line = arguments(
        WORKLOADS[workload],
        url=target.url,
        tokenizer=str(MODEL),
        model=target.model,
        adapters=target.adapters,
        concurrency=concurrency,
        count=count,
        seed=seed_,
    )
    before, _ = target.overhead()
    found, client_s = client.run(line, target.key)
    after, resident = target.overhead()
    if found["completed"] != count:
        errors = sorted({error[:300] for error in found.get("errors", []) if error})
        raise RuntimeError(f"{found['completed']} of {count} completed; {errors[:1]}")
    return {
        "target": target.name,
        "workload": workload,
        "concurrency": concurrency,
        "requests": count,
        "seconds": round(found["duration"], 3),
        "requests_per_s": round(found["request_throughput"], 4),
        "output_tokens_per_s": round(found["output_throughput"], 2),
        "goodput_per_s": round(found["request_goodput"], 4),
        **{
            f"{time_}_ms_p{p}": round(found[f"p{p}_{time_}_ms"], 3)
            for time_ in ("ttft", "itl", "e2el")
            for p in (50, 95, 99)
        },
        "cpu_s_per_request_beside_engine": round((after - before) / (count + WARMUPS), 5),
        "rss_mib_beside_engine": round(resident, 1),
        "client_cpu_s_per_request": round(client_s / count, 5),
    }


def prepare(config: Path, folder: Path, count: int = ADAPTERS) -> targets.Setting:
    """Make what all servers share: the model if it is missing, adapters, configuration, flags."""
    from serving.config import settings
    from serving.engine import engine
    from tests.tiny_checkpoint import make_adapter

    if not (MODEL / "config.json").exists():
        from training.demo.base_model import make_base_model

        make_base_model(MODEL)
    adapters = {f"line{number}": folder / f"adapter{number}" for number in range(count)}
    for number, path in enumerate(adapters.values()):
        make_adapter(path, MODEL, rank=8, seed=number)
    content = targets.with_adapters(yaml.safe_load(config.read_text()), MODEL, list(adapters))
    flags = engine.flags(settings.Settings.model_validate(content))
    return targets.Setting(content, flags, adapters, folder)


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def exit_on_sigterm() -> None:
    """Let `finally` stop the servers when this process is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
