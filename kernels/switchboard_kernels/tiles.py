"""The work list of the GPU kernels: blocks of rows that share an adapter.

Built on the host once per engine step from the step's adapter indices and copied to fixed device
buffers, so a captured CUDA graph replays with new contents. A batch of T tokens over G adapters
needs at most ``min(T, T // BLOCK_M + G)`` blocks, so the grid is that bound and not
adapters x row blocks; entries past the step's own work have a count of 0 and their programs leave
at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

# Rows of a block: the smallest that tensor cores take for decode, larger for prefill.
DECODE_BLOCK_M = 16
PREFILL_BLOCK_M = 64
# Up to this many tokens a step counts as decode.
DECODE_TOKENS = 256


def tile_bound(tokens: int, adapters: int, block_m: int) -> int:
    """Greatest number of blocks that ``tokens`` rows over ``adapters`` adapters can need."""
    return min(tokens, tokens // block_m + adapters)


class TileTable:
    """Rows sorted by adapter and cut into blocks, in device buffers of fixed address.

    Args:
        max_tokens: Most tokens in a step.
        max_adapters: Adapter slots.
        device: Where the kernels run.

    Attributes:
        rows: (max_tokens,) int32, row numbers sorted by adapter, the base model's left out.
        decode: (blocks, 3) int32: slot, first position in ``rows``, count; 0 for no work.
        prefill: The same with larger blocks.
        empty: (1,) bool on the CPU: no row of the step has an adapter.
    """

    def __init__(self, max_tokens: int, max_adapters: int, device: torch.device | str) -> None:
        def blocks(block_m: int) -> torch.Tensor:
            bound = tile_bound(max_tokens, max_adapters, block_m)
            return torch.zeros((max(1, bound), 3), dtype=torch.int32, device=device)

        self.rows = torch.zeros(max_tokens, dtype=torch.int32, device=device)
        self.decode = blocks(DECODE_BLOCK_M)
        self.prefill = blocks(PREFILL_BLOCK_M)
        self.empty = torch.ones(1, dtype=torch.bool)

    def update(self, indices: Sequence[int]) -> None:
        """Sort a step's tokens by adapter.

        Args:
            indices: Adapter slot of each token, negative for the base model.
        """
        slots = np.asarray(indices, dtype=np.int32)
        rows = np.argsort(slots, kind="stable").astype(np.int32)
        rows = rows[int((slots < 0).sum()) :]
        self.empty[0] = rows.size == 0
        if rows.size == 0:
            # A graph captured with adapters is replayed past `empty`: no work may be left in it.
            self.decode.zero_()
            self.prefill.zero_()
            return
        self.rows[: rows.size].copy_(torch.from_numpy(rows), non_blocking=True)
        active, first, counts = np.unique(slots[rows], return_index=True, return_counts=True)
        for table, block_m in ((self.decode, DECODE_BLOCK_M), (self.prefill, PREFILL_BLOCK_M)):
            host = np.zeros(tuple(table.shape), dtype=np.int32)
            entries = [
                (slot, start + done, min(block_m, count - done))
                for slot, start, count in zip(active, first, counts, strict=True)
                for done in range(0, count, block_m)
            ]
            host[: len(entries)] = entries
            table.copy_(torch.from_numpy(host), non_blocking=True)
