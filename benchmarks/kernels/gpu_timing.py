"""How the GPU benchmarks measure: CUDA-graph replay over rotated weights, and the roofline."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# Copies of the weights are rotated until they exceed this: twice Hopper's 50 MiB of L2, so that a
# replay finds nothing of the last one there.
ROTATED_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Roofline:
    """Measured limits of this GPU.

    Attributes:
        bytes_per_s: Copy bandwidth, reads plus writes.
        operations_per_s: Dense bf16 matrix rate.
    """

    bytes_per_s: float
    operations_per_s: float

    def seconds(self, bytes_moved: float, operations: float) -> float:
        """Least time that moving and computing this much can take."""
        return max(bytes_moved / self.bytes_per_s, operations / self.operations_per_s)


def measure_roofline() -> Roofline:
    """Time a large copy and a large bf16 product."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy_s = seconds_per_call([lambda: target.copy_(source)], rounds=20)
    side = 8192
    left = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    right = torch.randn_like(left)
    product_s = seconds_per_call([lambda: torch.mm(left, right)], rounds=20)
    return Roofline(2 * source.numel() / copy_s, 2 * side**3 / product_s)


def seconds_per_call(calls: list[Callable[[], Any]], rounds: int) -> float:
    """Median time of one call.

    Args:
        calls: The same work over different copies of the data; captured into one CUDA graph.
        rounds: Replays.

    Returns:
        Seconds per call, the median over the replays.
    """
    for call in calls:
        call()  # compiles outside the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    times = []
    for _ in range(rounds):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3 / len(calls))
    return statistics.median(times)


def append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows to a CSV; the header is written once and must not change after that.

    Raises:
        ValueError: The file has other columns.
    """
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    if not new:
        with path.open() as file:
            header = next(csv.reader(file))
        if header != list(rows[0]):
            raise ValueError(f"{path.name} has columns {header}, these rows {list(rows[0])}")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
