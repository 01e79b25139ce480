"""Draws the kernels' plots from the tables alone; measures nothing.

    python benchmarks/kernels/plot.py

Reads ``benchmarks/results/kernels-cpu.csv`` and, where there is one, ``kernels-gpu.csv``; writes
``kernels-cpu.png`` and ``kernels-gpu.png`` beside them.
"""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

RESULTS = Path(__file__).parents[1] / "results"


def read(name: str) -> list[dict[str, str]]:
    """Rows of a table; none when it was never written."""
    path = RESULTS / name
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def median_by(rows: list[dict[str, str]], key: str, value: str) -> list[tuple[float, float]]:
    """Median of a column for each value of another, in order."""
    groups: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        groups[float(row[key])].append(float(row[value]))
    return [(x, statistics.median(groups[x])) for x in sorted(groups)]


def draw_cpu(rows: list[dict[str, str]]) -> None:
    """Left: the op against vLLM's by tokens. Right: the engine's throughput."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    op = [row for row in rows if row["benchmark"] == "op" and row["dtype"] == "bfloat16"]
    for adapters in sorted({row["adapters"] for row in op}, key=int):
        chosen = [row for row in op if row["adapters"] == adapters]
        points = median_by(chosen, "tokens", "vllm_over_ours_median")
        left.plot(*zip(*points, strict=True), marker="o", label=f"{adapters} adapters")
    left.axhline(1, color="black", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="tokens in the step")
    left.set(ylabel="vLLM's time / ours", title="add_lora_linear, bf16, median over shapes")
    if op:
        left.legend()
    engine = [row for row in rows if row["benchmark"] == "engine"]
    mixes = list(dict.fromkeys(row["mix"] for row in engine))
    for shift, plugin in ((-0.2, "on"), (0.2, "off")):
        heights = [
            statistics.median(
                float(row["req_per_s"])
                for row in engine
                if row["mix"] == mix and row["plugin"] == plugin
            )
            for mix in mixes
        ]
        places = [i + shift for i in range(len(mixes))]
        right.bar(places, heights, width=0.4, label=f"SWITCHBOARD_KERNELS={plugin}")
    right.set(ylabel="requests / s", title="vLLM on CPU, 32 at a time")
    right.set_xticks(range(len(mixes)), mixes)
    if engine:
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=2)
    save(figure, "kernels-cpu.png")


def draw_gpu(rows: list[dict[str, str]]) -> None:
    """Left: against vLLM by tokens and configuration. Right: share of the roofline."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for config in sorted({row["vllm_config"] for row in rows}):
        chosen = [row for row in rows if row["vllm_config"] == config]
        points = median_by(chosen, "tokens", "vllm_over_ours")
        left.plot(*zip(*points, strict=True), marker="o", label=f"vLLM {config}")
    left.axhline(1, color="black", linewidth=0.8)
    left.set(xscale="log", xlabel="tokens", ylabel="vLLM's time / ours")
    left.legend()
    points = median_by(rows, "tokens", "roofline_share")
    right.plot(*zip(*points, strict=True), marker="o")
    right.set(xscale="log", xlabel="tokens", ylabel="share of the roofline", ylim=(0, 1))
    figure.suptitle(rows[-1]["gpu"])
    save(figure, "kernels-gpu.png")


def save(figure: Any, name: str) -> None:
    """Write a figure beside the tables."""
    figure.tight_layout()
    figure.savefig(RESULTS / name, dpi=120)
    print(f"wrote {RESULTS / name}")


def main() -> None:
    """Draw what there are tables for."""
    if rows := read("kernels-cpu.csv"):
        draw_cpu(rows)
    if rows := read("kernels-gpu.csv"):
        draw_gpu(rows)


if __name__ == "__main__":
    main()
