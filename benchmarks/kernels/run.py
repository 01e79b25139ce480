"""CPU benchmark of the kernels: ``make bench-kernels``.

    python benchmarks/kernels/run.py [--model FOLDER] [--rounds 5] [--only op|engine]
                                     [--dtype float32] [--out kernels-avx2]

Writes ``benchmarks/results/kernels-cpu.csv`` (every cell, losing ones included) and
``benchmarks/results/kernels.json`` (ratios over the rounds, environment, commit), or with
``--out`` ``NAME.csv`` and ``NAME.json``. Without ``--model`` a random 4-layer Llama of hidden size
256 is made and thrown away. ``--dtype`` is what grid and engine compute in: float32 where the CPU
has no bf16.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import cpu_grouped_lora
import end_to_end

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from environment import commit, environment, now

RESULTS = Path(__file__).parents[1] / "results"


def spread(values: list[float]) -> dict[str, float | int]:
    """Median, extremes and number of rounds."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "rounds": len(values),
    }


def op_ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """vLLM's time over ours.

    ``op_vs_vllm_min`` is of the worst shape, by its median over the rounds; ``…_single`` is the
    worst shape of each round, which one call disturbed by other work decides.
    """
    rounds = list(zip(*(row["ratios"] for row in rows), strict=True))
    worst = min((row["ratios"] for row in rows), key=statistics.median)
    return {
        "op_vs_vllm_min": spread(worst),
        "op_vs_vllm_median": spread([statistics.median(cells) for cells in rounds]),
        "op_vs_vllm_min_single": spread([min(cells) for cells in rounds]),
    }


def engine_ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Throughput through adapters over the base's, and ours over vLLM's, each round by itself.

    ``lora_over_base_throughput_c32`` is of eight adapters mixed, the heaviest workload.
    """
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["plugin"], row["mix"]), []).append(row)

    def over_base(plugin: str, mix: str) -> dict[str, float | int]:
        return spread([row["over_base"] for row in cells[plugin, mix]])

    def over_vllm(mix: str) -> dict[str, float | int]:
        pairs = zip(cells["on", mix], cells["off", mix], strict=True)
        return spread([ours["req_per_s"] / theirs["req_per_s"] for ours, theirs in pairs])

    return {
        "lora_over_base_throughput_c32": over_base("on", "eight"),
        "lora_over_base_throughput_c32_one": over_base("on", "one"),
        "lora_over_base_throughput_c32_half_base": over_base("on", "half-base"),
        "lora_over_base_throughput_c32_vllm": over_base("off", "eight"),
        "lora_over_base_throughput_c32_one_vllm": over_base("off", "one"),
        "throughput_vs_vllm_one": over_vllm("one"),
        "throughput_vs_vllm_eight": over_vllm("eight"),
        "throughput_vs_vllm_base": over_vllm("base"),
        "base_without_lora_over_base_c32": over_base(end_to_end.NO_LORA, "base"),
    }


def write(op: list[dict[str, Any]], engine: list[dict[str, Any]], name: str | None) -> None:
    """Write what was measured; parts left out keep their earlier rows and ratios."""
    csv_path, json_path = RESULTS / "kernels-cpu.csv", RESULTS / "kernels.json"
    if name is not None:
        csv_path, json_path = RESULTS / f"{name}.csv", RESULTS / f"{name}.json"
    stamp = {"commit": commit(), "time": now()}
    rows: list[dict[str, Any]] = []
    if csv_path.exists():
        with csv_path.open() as file:
            rows = list(csv.DictReader(file))
    if op:
        rows = [row for row in rows if row["benchmark"] != "op"]
        for row in op:
            figures = {k: v for k, v in row.items() if k != "ratios"}
            ratios = {f"vllm_over_ours_{k}": v for k, v in spread(row["ratios"]).items()}
            rows.append({"benchmark": "op"} | figures | ratios | stamp)
    if engine:
        rows = [row for row in rows if row["benchmark"] != "engine"]
        rows += [{"benchmark": "engine"} | row | stamp for row in engine]
    RESULTS.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with csv_path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=names, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    summary = json.loads(json_path.read_text()) if json_path.exists() else {}
    ratios = dict(summary.get("ratios", {}))
    ratios |= op_ratios(op) if op else {}
    ratios |= engine_ratios(engine) if engine else {}
    summary = {"ratios": ratios, "environment": environment(), **stamp}
    json_path.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(ratios, indent=2))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of a Llama checkpoint")
    parser.add_argument("--rounds", type=int, default=5, help="at least 3")
    parser.add_argument("--requests", type=int, default=96, help="per engine cell and round")
    parser.add_argument("--only", choices=("op", "engine"))
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--out", help="name of the result files, without their ending")
    arguments = parser.parse_args()
    if arguments.rounds < 3:
        parser.error("--rounds: give 3 or more, since a median of fewer says little")
    op: list[dict[str, Any]] = []
    engine: list[dict[str, Any]] = []
    if arguments.only != "engine":
        for row in cpu_grouped_lora.measure(arguments.rounds, arguments.dtype):
            op.append(row)
            print({k: v for k, v in row.items() if k != "ratios"}, flush=True)
    if arguments.only != "op":
        load = end_to_end.Workload(
            arguments.model,
            rounds=arguments.rounds,
            requests=arguments.requests,
            dtype=arguments.dtype,
        )
        with tempfile.TemporaryDirectory() as scratch:
            engine = end_to_end.measure(load, Path(scratch))
    write(op, engine, arguments.out)


if __name__ == "__main__":
    main()
