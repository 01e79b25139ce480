"""The CPU op against vLLM's own, both through vLLM's ``add_lora_linear``, alternating.

Run through ``run.py``. A step's metadata is prepared outside the clock on both sides. With half of
the rows on the base model vLLM's op computes something else (the last adapter, for every such row);
it is timed as it is.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

# (hidden, columns of each slice): QKV of the demo's model, QKV and down projection of one of 1 B,
# QKV of one of 8 B.
LAYERS = {
    "qkv-256": (256, (256, 256, 256)),
    "qkv-1024": (1024, (1024, 256, 256)),
    "down-1024": (2816, (1024,)),
    "qkv-4096": (4096, (4096, 1024, 1024)),
}


@dataclass(frozen=True)
class Cell:
    """One shape of the grid."""

    layer: str
    tokens: int
    adapters: int
    rank: int
    mix: str
    dtype: str


def grid(dtype: str) -> list[Cell]:
    """All cells of a dtype in which there are tokens enough for the adapters.

    4,096 tokens are a prefill of a large budget; half of the rows on the base model is one rank's
    matter, since it costs what the adapters' rows cost.
    """
    shapes = itertools.product(
        LAYERS,
        (1, 8, 32, 128, 512, 4096),
        (1, 4, 8, 32),
        (8, 16, 32, 64),
        ("uniform", "half-base"),
    )
    return [
        Cell(layer, tokens, adapters, rank, mix, dtype)
        for layer, tokens, adapters, rank, mix in shapes
        if adapters <= tokens and (mix == "uniform" or (tokens > 1 and rank == 8))
    ]


def prepare(cell: Cell) -> tuple[Callable[[], None], Callable[[], None]]:
    """Build a cell's tensors; returns one call of ours and one of vLLM's."""
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    from switchboard_kernels.cpu_grouped_lora.vllm_plugin import GroupedPunicaWrapperCPU

    hidden, widths = LAYERS[cell.layer]
    dtype = getattr(torch, cell.dtype)
    generator = torch.Generator().manual_seed(cell.tokens)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).mul_(0.05).to(dtype)

    a = tuple(random(cell.adapters, 1, cell.rank, hidden) for _ in widths)
    b = tuple(random(cell.adapters, 1, width, cell.rank) for width in widths)
    x, y = random(cell.tokens, hidden), random(cell.tokens, sum(widths))
    ids = [1 + row % cell.adapters for row in range(cell.tokens)]
    if cell.mix == "half-base":
        ids = [0 if row % 2 else number for row, number in enumerate(ids)]
    mapping = LoRAMapping(tuple(ids), tuple(ids), is_prefill=True)
    slots: list[int | None] = list(range(1, cell.adapters + 1))
    calls = []
    for kind in (GroupedPunicaWrapperCPU, PunicaWrapperCPU):
        wrapper = kind(cell.tokens, cell.tokens, "cpu")
        wrapper.update_metadata(mapping, slots, cell.adapters, 1024)

        def call(wrapper: Any = wrapper) -> None:
            with torch.inference_mode():
                wrapper.add_lora_linear(y, x, a, b, 1.0, widths)

        calls.append(call)
    return calls[0], calls[1]


def seconds(call: Callable[[], None], at_least: float = 0.002, best_of: int = 3) -> float:
    """Least time of one call over a few tries; short calls are repeated for the clock's sake."""
    start = time.perf_counter()
    call()
    least = time.perf_counter() - start
    repeats = max(1, int(at_least / max(least, 1e-7)))
    for _ in range(best_of):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        least = min(least, (time.perf_counter() - start) / repeats)
    return least


def measure(rounds: int, dtype: str) -> Iterator[dict[str, Any]]:
    """Time the grid.

    Args:
        dtype: Of weights and activations: what the engine runs in on this machine.
        rounds: Times each pair is measured; ours and vLLM's change places every round.

    Yields:
        One row per cell: the cell, medians in microseconds, and vLLM's time over ours per round.
    """
    for cell in grid(dtype):
        ours, theirs = prepare(cell)
        ours()
        theirs()
        times: dict[str, list[float]] = {"ours": [], "vllm": []}
        for number in range(rounds):
            pair = [("ours", ours), ("vllm", theirs)]
            for name, call in pair if number % 2 == 0 else reversed(pair):
                times[name].append(seconds(call))
        yield asdict(cell) | {
            "ours_us": 1e6 * statistics.median(times["ours"]),
            "vllm_us": 1e6 * statistics.median(times["vllm"]),
            "ratios": [v / o for o, v in zip(times["ours"], times["vllm"], strict=True)],
        }
