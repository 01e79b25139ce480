"""The GPU grid of ``decode_shrink_expand`` and ``prefill_shrink`` against vLLM and the base GEMM.

Not a script: ``decode_shrink_expand.py`` and ``prefill_shrink.py`` run their halves of it. vLLM is
measured as it is and, when ``VLLM_TUNED_CONFIG_FOLDER`` is set, tuned; the column ``vllm_config``
says which, so run once with and once without.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now
from gpu_timing import ROTATED_BYTES, Roofline, append, measure_roofline, seconds_per_call

from switchboard_kernels.decode_shrink_expand.kernel import decode_shrink_expand, expand
from switchboard_kernels.decode_shrink_expand.reference import decode_shrink_expand_reference
from switchboard_kernels.prefill_shrink.kernel import prefill_shrink
from switchboard_kernels.tiles import PREFILL_BLOCK_M, TileTable

RESULT = Path(__file__).parents[1] / "results" / "kernels-gpu.csv"
ELEMENT_BYTES = 2
# bf16 keeps 8 bits; outputs are about 1.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Cell:
    """One shape of the grid; every slice is ``hidden`` columns wide."""

    tokens: int
    rank: int
    hidden: int
    slices: int
    adapters: int
    mix: str

    @property
    def bytes_moved(self) -> float:
        """Least bytes: weights of the adapters once, x once, y read and written."""
        weights = self.adapters * self.slices * self.rank * 2 * self.hidden
        return ELEMENT_BYTES * (weights + self.tokens * self.hidden * (1 + 2 * self.slices))

    @property
    def operations(self) -> float:
        """Multiplications and additions of both products."""
        return 4.0 * self.tokens * self.rank * self.hidden * self.slices

    def indices(self) -> list[int]:
        """Adapter of each token."""
        generator = random.Random(self.tokens)
        adapters = range(self.adapters)
        if self.mix == "zipf":
            weights = [1 / (1 + i) for i in adapters]
            return generator.choices(adapters, weights, k=self.tokens)
        drawn = [i % self.adapters for i in range(self.tokens)]
        if self.mix == "half-base":
            return [-1 if i % 2 else slot for i, slot in enumerate(drawn)]
        return drawn


def cells(tokens: list[int]) -> Iterator[Cell]:
    """The grid of the issue for some numbers of tokens."""
    for cell in itertools.starmap(
        Cell,
        itertools.product(
            tokens,
            (8, 16, 32, 64),
            (2048, 4096, 8192),
            (1, 2, 3),
            (1, 4, 8, 32),
            ("uniform", "zipf", "half-base"),
        ),
    ):
        if cell.adapters <= cell.tokens and (cell.mix == "uniform" or cell.tokens > 1):
            yield cell


def measure(cell: Cell, roofline: Roofline, rounds: int) -> dict[str, Any]:
    """Check one cell against float64, then time ours, vLLM's and the base GEMM."""
    weight_bytes = 2 * ELEMENT_BYTES * cell.adapters * cell.slices * cell.rank * cell.hidden
    copies = max(2, min(64, ROTATED_BYTES // weight_bytes))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    layers = [
        (
            [draw(cell.adapters, 1, cell.rank, cell.hidden) for _ in range(cell.slices)],
            [draw(cell.adapters, 1, cell.hidden, cell.rank) for _ in range(cell.slices)],
        )
        for _ in range(copies)
    ]
    x = draw(cell.tokens, cell.hidden) / cell.hidden**0.5 / cell.rank**0.5
    y = draw(cell.tokens, cell.slices * cell.hidden)
    indices = cell.indices()
    table = TileTable(cell.tokens, cell.adapters, "cuda")
    table.update(indices)

    def ours(a: list[torch.Tensor], b: list[torch.Tensor], out: torch.Tensor) -> None:
        if cell.tokens <= 256:
            decode_shrink_expand(out, x, a, b, table.rows, table.decode)
        else:
            h = prefill_shrink(x, a, table.rows, table.prefill)
            expand(out, h, b, table.rows, table.prefill, block_m=PREFILL_BLOCK_M)

    checked = y.clone()
    ours(*layers[0], checked)
    sample = sorted(random.Random(0).sample(range(cell.tokens), min(cell.tokens, 16)))
    expected = decode_shrink_expand_reference(
        y[sample].cpu(),
        x[sample].cpu(),
        [w.cpu() for w in layers[0][0]],
        [w.cpu() for w in layers[0][1]],
        [indices[i] for i in sample],
    )
    error = float((checked[sample].cpu().double() - expected).abs().max())
    if error > TOLERANCE:
        raise SystemExit(f"{cell}: off by {error} from float64")

    ours_s = seconds_per_call([lambda p=pair: ours(*p, y) for pair in layers], rounds)
    vllm_s = seconds_per_call([vllm_call(cell, x, y, indices, *p) for p in layers], rounds)
    base = [draw(cell.hidden, cell.slices * cell.hidden) for _ in range(2)]
    base_s = seconds_per_call([lambda w=w: torch.mm(x, w) for w in base], rounds)
    return asdict(cell) | {
        "kernel": "decode_shrink_expand" if cell.tokens <= 256 else "prefill_shrink",
        "ours_us": 1e6 * ours_s,
        "vllm_us": 1e6 * vllm_s,
        "base_gemm_us": 1e6 * base_s,
        "vllm_over_ours": vllm_s / ours_s,
        "roofline_share": roofline.seconds(cell.bytes_moved, cell.operations) / ours_s,
        "max_error": error,
    }


def vllm_call(
    cell: Cell,
    x: torch.Tensor,
    y: torch.Tensor,
    indices: list[int],
    a: list[torch.Tensor],
    b: list[torch.Tensor],
) -> Callable[[], None]:
    """One shrink and one expand of vLLM's own kernels, with its metadata prepared."""
    from vllm.lora.ops.triton_ops import LoRAKernelMeta, lora_expand, lora_shrink

    meta = LoRAKernelMeta.make(cell.adapters, cell.tokens, "cuda")
    meta.prepare_tensors(torch.tensor(indices, dtype=torch.int32, device="cuda"))
    arguments = meta.meta_args(cell.tokens, specialize_active_lora=False)
    buffer = torch.empty(cell.slices, cell.tokens, cell.rank, device="cuda")

    def call() -> None:
        lora_shrink(x, a, buffer, *arguments, 1.0)
        lora_expand(buffer, b, y, *arguments, offset_start=0, add_inputs=True)

    return call


def main(tokens: list[int], description: str) -> None:
    """Run the cells of some numbers of tokens and append them to the table."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tokens", type=int, nargs="+", default=tokens)
    parser.add_argument("--sample", type=int, help="measure this many cells drawn at random")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU here: nothing was measured")
    chosen = list(cells(arguments.tokens))
    if arguments.sample:
        chosen = random.Random(0).sample(chosen, min(arguments.sample, len(chosen)))
    roofline = measure_roofline()
    where = environment()
    stamp = {
        "vllm_config": "tuned" if os.environ.get("VLLM_TUNED_CONFIG_FOLDER") else "default",
        "gpu": where["gpu"],
        "copy_bytes_per_s": f"{roofline.bytes_per_s:.4g}",
        "matrix_operations_per_s": f"{roofline.operations_per_s:.4g}",
        "torch": where.get("torch", ""),
        "triton": where.get("triton", ""),
        "vllm": where.get("vllm", ""),
        "commit": commit(),
        "time": now(),
    }
    for cell in chosen:
        row = measure(cell, roofline, arguments.rounds)
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
        append(RESULT, [shown | stamp])
        print(shown, flush=True)
