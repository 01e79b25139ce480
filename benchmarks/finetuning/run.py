"""Fine-tuning against plain TRL, same model, data and hardware: ``make bench-training``.

    python benchmarks/finetuning/run.py [--rounds 3] [--examples 192] [--dialogs PATH]
    python benchmarks/finetuning/run.py --models 1b,8b --methods lora,qlora --examples 2048  # a GPU

Each round runs every trainer once, in a process of its own, in an order that turns. Tokens are the
data's own: padding counts for nothing. Writes ``benchmarks/results/training.json`` and fails where
the loss curves differ by more than rounding explains.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "serving")]
from data import examples, lengths, write
from environment import commit, environment, now
from models import SHAPES, make
from ratios import Ratio, rotated, spread
from results import write_json

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "training.json"
OURS = "switchboard"
# Largest difference of a step's loss, relative to TRL's. Float32 on both sides leaves rounding that
# training amplifies; plain TRL computes in bfloat16, whose steps are 0.4 % wide.
TOLERANCE = {"trl": 0.02, "trl_lean": 0.005, "unsloth": 0.05}
TIMEOUT_S = 3600


def chosen_targets(cuda: bool) -> tuple[list[str], dict[str, str]]:
    """Return the trainers to run, and why others are not."""
    targets, skipped = ["trl", "trl_lean", OURS], {}
    if not cuda:
        skipped["unsloth"] = "not run: it needs a GPU, and there is none"
    elif find_spec("unsloth") is None:
        skipped["unsloth"] = "not run: not installed"
    else:
        targets.append("unsloth")
    skipped["torchtune"] = (
        "not run: not installed"
        if find_spec("torchtune") is None
        else "not run: it reads no Hugging Face chat template, so its data would be another"
    )
    return targets, skipped


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run one trainer in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        task_file, answer_file = Path(folder) / "task.json", Path(folder) / "answer.json"
        task_file.write_text(json.dumps(task | {"out": str(Path(folder) / "out")}))
        command = [sys.executable, str(Path(__file__).with_name("target.py"))]
        done = subprocess.run(
            [*command, str(task_file), str(answer_file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            return {"error": done.stderr.strip()[-2000:]}
        answer: dict[str, Any] = json.loads(answer_file.read_text())
        return answer


def curves(runs: list[dict[str, Any]], other: str) -> dict[str, Any]:
    """Compare the losses of two trainers, step by step, within each round."""
    by_round = {(r["round"], r["target"]): r["losses"] for r in runs if "losses" in r}
    apart, means = [], []
    for (number, target), theirs in by_round.items():
        ours = by_round.get((number, OURS))
        if target != other or ours is None:
            continue
        if len(ours) != len(theirs):
            return {"equal": False, "steps": [len(ours), len(theirs)]}
        apart.append(max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True)))
        means.append(abs(sum(ours) - sum(theirs)) / sum(theirs))
    return {
        "largest_relative_difference_of_a_step": round(max(apart), 6),
        "relative_difference_of_the_mean": round(max(means), 6),
        "tolerance": TOLERANCE[other],
        "equal": max(apart) <= TOLERANCE[other],
    }


def compare(runs: list[dict[str, Any]], others: list[str]) -> dict[str, Ratio]:
    """Return ratios within a round: tokens/s of ours over theirs, memory of ours over theirs."""
    found = {}
    for other in others:
        pairs = [
            (ours, theirs)
            for ours in runs
            for theirs in runs
            if ours["round"] == theirs["round"]
            and (ours["target"], theirs["target"]) == (OURS, other)
            and "seconds" in ours
            and "seconds" in theirs
        ]
        if pairs:
            found[f"tokens_per_s_vs_{other}"] = spread(
                [theirs["seconds"] / ours["seconds"] for ours, theirs in pairs]
            )
            found[f"peak_memory_vs_{other}"] = spread(
                [ours["peak_memory_mib"] / theirs["peak_memory_mib"] for ours, theirs in pairs]
            )
    return found


def main() -> int:
    """Measure, write the results and say whether the loss curves agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=192)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--models", help="demo, 1b, 8b; demo, and on a GPU 1b and 8b too")
    parser.add_argument("--methods", help="lora, qlora; both on a GPU")
    parser.add_argument("--dialogs", type=Path, help="dialogs, or a folder with ABCD's")
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument("--speed", type=json.loads, default={}, help="the recipe's section, JSON")
    options = parser.parse_args()
    cuda = environment()["gpu"] != ""
    models = (options.models or ("demo,1b,8b" if cuda else "demo")).split(",")
    methods = (options.methods or ("lora,qlora" if cuda else "lora")).split(",")
    named = options.dialogs or os.environ.get("SWITCHBOARD_ABCD_DIR")
    rows, source = examples(Path(named) if named else None, options.examples, seed=0)
    targets, skipped = chosen_targets(cuda)
    if not cuda:
        skipped |= {f"{name}_model": "not run: no GPU" for name in SHAPES if name not in models}
    from transformers import AutoTokenizer

    runs, found, agreed, data = [], {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        train_file = Path(folder) / "train.jsonl"
        write(rows, train_file)
        for model in models:
            path = make(model, ROOT / ".cache" / "switchboard")
            tokenizer = AutoTokenizer.from_pretrained(path)
            data = {"source": source, **lengths(rows, tokenizer, options.batch_size)}
            for method in methods:
                tail = "" if (model, method) == ("demo", "lora") else f"_{model}_{method}"
                cell = []
                for number in range(options.rounds):
                    for target in rotated(targets, number):
                        task = {
                            "target": target,
                            "model": str(path),
                            "method": method,
                            "train_file": str(train_file),
                            "epochs": options.epochs,
                            "batch_size": options.batch_size,
                            "learning_rate": 2e-3 if model == "demo" else 2e-4,
                            "rank": 16,
                            "alpha": 32,
                            "max_length": 2048,
                            "seed": 42,
                            "threads": options.threads,
                            "speed": options.speed,
                        }
                        answer = run(task)
                        if "seconds" in answer:
                            tokens = data["tokens"] * options.epochs
                            answer["tokens_per_s"] = round(tokens / answer["seconds"], 1)
                        head = {"round": number, "target": target, "model": model, "method": method}
                        cell.append(head | answer)
                        shown = {k: v for k, v in answer.items() if k != "losses"}
                        print(f"{model} {method} round {number} {target}: {shown}", flush=True)
                others = [target for target in targets if target != OURS]
                done = [o for o in others if any(r["target"] == o and "losses" in r for r in cell)]
                if any(r["target"] == OURS and "losses" in r for r in cell):
                    found |= {f"{k}{tail}": v for k, v in compare(cell, done).items()}
                    agreed |= {f"{other}{tail}": curves(cell, other) for other in done}
                for line in cell:
                    if "error" in line:
                        name = f"{line['target']}_{model}_{method}"
                        skipped[name] = f"failed: {line['error'].splitlines()[-1]}"
                runs += cell
    result = {
        "ratios": found,
        "loss_curves": agreed,
        "skipped": skipped,
        "data": data,
        "batch_size": options.batch_size,
        "runs": runs,
        "environment": environment(),
        "commit": commit(),
        "time": now(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    write_json(RESULT, result)
    for name, ratio in found.items():
        print(
            f"{name}: {ratio['median']} [{ratio['min']}, {ratio['max']}], {ratio['rounds']} rounds"
        )
    for name, agreement in agreed.items():
        print(f"losses against {name}: {agreement}")
    failed = any("error" in line and line["target"] == OURS for line in runs)
    return int(failed or not all(a["equal"] for a in agreed.values()))


if __name__ == "__main__":
    sys.exit(main())
