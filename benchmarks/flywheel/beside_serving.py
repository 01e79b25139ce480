"""What training costs serving on one machine: no training, training let loose, training bounded.

One server of the demo's model answers vLLM's client at a fixed concurrency, in turns alone, beside
a training process with no limits (`--on local`), and beside a job on the server's own Ray cluster
(`--on ray`: its own reserved CPU, as many threads, the lowest priority). The training is the real
one and goes on during the whole cell. Ratios are within a round.

    python benchmarks/flywheel/beside_serving.py            # about 5 minutes
    python benchmarks/flywheel/beside_serving.py --bound 1.1

The exit status is 1 if bounded training slows the median answer by more than `--bound`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# The root first: the folder benchmarks/serving must not pass for the package of that name.
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
import targets
from client import Client
from drive import drive, exit_on_sigterm, prepare, say
from environment import commit, environment, now
from ratios import Ratio, rotated, spread
from results import RESULTS, write_json
from target import ROOT
from workloads import WARM_ROUND, requests, seed

from serving import ports
from serving.config.settings import Settings
from serving.config.settings import load as load_settings
from training.demo.dialogs import make_dialogs
from training.execution import executor
from training.recipe import recipe as recipes
from training.recipe.recipe import Recipe
from training.recipe.resources import ResourcesConfig
from training.trainers.job import Job

WORKLOAD = "suggest"
CONDITIONS = ("alone", "naive", "bounded")
TIMES = ("ttft_ms_p50", "ttft_ms_p99", "e2el_ms_p50", "e2el_ms_p99")
CHECKPOINT_STEPS = 5
BEGINS_WITHIN_S = 240.0
FOREVER_STEPS = 1_000_000


class Training:
    """A fine-tuning that goes on while the block lasts.

    Args:
        where: Its resources.
        settings: The server's, whose cluster it may run on.
        base: Folder of the model.
        folder: For its files; new for each.
    """

    def __init__(self, where: ResourcesConfig, settings: Settings, base: str, folder: Path) -> None:
        self._folder = folder
        where = where.model_copy(update={"folder": str(folder / "there")})
        self._trainer = executor.make(where, settings)
        self._job = Job("care", base, "-", "-", str(rows(folder)), str(folder / "out"), endless())

    async def __aenter__(self) -> Training:
        await self._trainer.__aenter__()
        self._task = asyncio.create_task(self._trainer.train(self._job))
        deadline = time.monotonic() + BEGINS_WITHIN_S
        while not self.steps():
            if self._task.done():
                self._task.result()
            if time.monotonic() > deadline:
                raise RuntimeError("the training did not begin")
            await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._trainer.__aexit__(None, None, None)

    def steps(self) -> int:
        """Optimizer steps so far, to the last checkpoint."""
        found = self._folder.glob("**/checkpoints/checkpoint-*")
        return max((int(path.name.rpartition("-")[2]) for path in found), default=0)


def rows(folder: Path) -> Path:
    """Write the demo's conversations as training examples."""
    folder.mkdir(parents=True)
    file = folder / "train.jsonl"
    with file.open("w", encoding="utf-8") as opened:
        for number, dialog in enumerate(make_dialogs("care", 40, seed=1)):
            *before, last = [turn.text for turn in dialog.turns]
            row = {
                "prompt": [{"role": "user", "content": "\n".join(before)}],
                "completion": [{"role": "assistant", "content": last}],
                "interaction_id": str(number),
            }
            opened.write(json.dumps(row) + "\n")
    return file


def endless() -> dict[str, Any]:
    """The demo's recipe, without an end and without a cap on threads."""
    recipe = recipes.load(ROOT / "configs" / "training" / "care.yaml")
    changed = {"max_steps": FOREVER_STEPS, "checkpoint_steps": CHECKPOINT_STEPS, "threads": None}
    sft = recipe.sft.model_copy(update=changed)
    return Recipe.model_validate(recipe.model_dump() | {"sft": sft.model_dump()}).model_dump()


def ratios(runs: list[dict[str, Any]]) -> dict[str, Ratio]:
    """Each condition with training over the same round without."""
    alone = {run["round"]: run for run in runs if run["condition"] == "alone"}
    found: dict[str, Ratio] = {}
    for condition in CONDITIONS[1:]:
        both = [
            (run, alone[run["round"]])
            for run in runs
            if run["condition"] == condition and run["round"] in alone
        ]
        for name in ("requests_per_s", *TIMES):
            label = "throughput" if name == "requests_per_s" else name
            found[f"{label}_{condition}_vs_alone"] = spread([a[name] / b[name] for a, b in both])
    return found


async def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Start the server, then go through the rounds."""
    # In a thread: they run event loops of their own.
    setting = await asyncio.to_thread(prepare, options.config, folder, count=0)
    server = await asyncio.to_thread(targets.switchboard, setting, ports.free())
    settings = load_settings(folder / "switchboard" / "config.yaml")
    where = {"naive": ResourcesConfig(), "bounded": ResourcesConfig(where="ray", cpus=options.cpus)}
    runs: list[dict[str, Any]] = []
    try:
        await asyncio.to_thread(server.start, folder / "server.log")
        with Client(folder / "client.log") as client:

            async def cell(count: int, seed_: int) -> dict[str, Any]:
                return await asyncio.to_thread(
                    drive, client, server, WORKLOAD, options.concurrency, count, seed_
                )

            warm = requests(0, 0, options.concurrency)
            for number in (WARM_ROUND, WARM_ROUND + 1):
                found = await cell(warm, seed(number, WORKLOAD, options.concurrency))
            count = requests(found["requests_per_s"], options.seconds, options.concurrency)
            for number in range(options.rounds):
                for turn, condition in enumerate(rotated(CONDITIONS, number)):
                    # The server is one, so each cell has prompts of its own.
                    seed_ = seed(number * len(CONDITIONS) + turn, WORKLOAD, options.concurrency)
                    steps = 0
                    if condition == "alone":
                        found = await cell(count, seed_)
                    else:
                        place = folder / f"{condition}-{number}"
                        async with Training(
                            where[condition], settings, str(setting.config["model"]), place
                        ) as training:
                            before = training.steps()
                            found = await cell(count, seed_)
                            steps = training.steps() - before
                    rate = round(steps / found["seconds"], 3)
                    run = {"round": number, "turn": turn, "condition": condition, **found}
                    runs.append(run | {"training_steps_per_s": rate})
                    said = {name: runs[-1][name] for name in ("requests_per_s", *TIMES)}
                    say(f"{number} {condition}: {said}, {rate} training steps/s")
    finally:
        server.stop()
    return runs


def main() -> None:
    """Measure, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8, help="of each cell")
    parser.add_argument("--cpus", type=float, default=1, help="that the bounded job reserves")
    parser.add_argument("--bound", type=float, default=1.1, help="slowdown of the median answer")
    options = parser.parse_args()
    exit_on_sigterm()
    with tempfile.TemporaryDirectory() as name:
        runs = asyncio.run(measure(options, Path(name)))
    found = ratios(runs)
    slowdown = found["e2el_ms_p50_bounded_vs_alone"]["median"]
    result = {
        "ratios": found,
        "bound": {"e2el_ms_p50_at_most": options.bound, "held": slowdown <= options.bound},
        "concurrency": options.concurrency,
        "environment": environment(),
        "commit": commit(),
        "time": now(),
        "runs": runs,
    }
    write_json(RESULTS / "training-beside-serving.json", result)
    say(json.dumps({key: result[key] for key in ("ratios", "bound")}, indent=1))
    sys.exit(slowdown > options.bound)


if __name__ == "__main__":
    main()
