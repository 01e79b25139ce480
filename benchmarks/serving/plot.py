"""Draws the serving benchmark's plots from its table alone; measures nothing.

    python benchmarks/serving/plot.py [FOLDER]

Reads ``serving.csv`` in ``benchmarks/results`` or FOLDER; writes ``serving.png`` beside it: a row
of panels for each workload, a line for each server, medians over the rounds.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import results

mpl.use("Agg")

import matplotlib.pyplot as plt

PANELS = (  # title, columns and line style of each, logarithmic
    ("throughput, requests / s", {"requests_per_s": "-"}, False),
    ("goodput under the SLO, requests / s", {"goodput_per_s": "-"}, False),
    (
        "TTFT, ms: p50, p95, p99",
        {f"ttft_ms_p{p}": s for p, s in ((50, "-"), (95, "--"), (99, ":"))},
        True,
    ),
    ("ITL, ms: p50, p95", {"itl_ms_p50": "-", "itl_ms_p95": "--"}, True),
    ("CPU s / request beside the engine", {"cpu_s_per_request_beside_engine": "-"}, True),
    ("RSS beside the engine, MiB", {"rss_mib_beside_engine": "-"}, False),
)


def medians(rows: list[dict[str, Any]], column: str) -> list[tuple[int, float]]:
    """Concurrency and the column's median over the rounds, in order."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["concurrency"], []).append(row[column])
    return [(concurrency, statistics.median(found[concurrency])) for concurrency in sorted(found)]


def draw(folder: Path) -> None:
    """Draw what the folder's table holds; nothing without one."""
    rows = results.read_table(folder / results.TABLE)
    if not rows:
        return
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    names = sorted({row["target"] for row in rows})
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    shape = (len(workloads), len(PANELS))
    figure, grid = plt.subplots(
        *shape, figsize=(3.6 * len(PANELS), 3.2 * len(workloads)), squeeze=False
    )
    for workload, axes in zip(workloads, grid, strict=True):
        for (title, columns, logarithmic), axis in zip(PANELS, axes, strict=True):
            for name in names:
                chosen = [r for r in rows if (r["target"], r["workload"]) == (name, workload)]
                for number, (column, style) in enumerate(columns.items()):
                    points = medians(chosen, column)
                    if points:
                        axis.plot(
                            *zip(*points, strict=True),
                            style,
                            marker="o" if number == 0 else None,
                            color=colours[name],
                            label=name if number == 0 else None,
                        )
            axis.set_xscale("log", base=2)
            axis.set_xticks(sorted({row["concurrency"] for row in rows}))
            axis.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
            if logarithmic:
                axis.set_yscale("log")
            else:
                axis.set_ylim(bottom=0)
            axis.set_title(title, fontsize=9)
        axes[0].set_ylabel(workload)
    for axis in grid[-1]:
        axis.set_xlabel("concurrency")
    lines = {
        label: line
        for axis in grid.flat
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    ordered = [name for name in names if name in lines]
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.legend([lines[n] for n in ordered], ordered, loc="lower center", ncol=len(ordered))
    path = folder / "serving.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else results.RESULTS)
