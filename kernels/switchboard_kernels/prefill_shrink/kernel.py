"""The Triton kernel of ``prefill_shrink`` and its launcher."""
# ruff: noqa: N803  Triton constants are upper case by convention

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from switchboard_kernels.decode_shrink_expand.kernel import MAX_SLICES, padded_rank
from switchboard_kernels.errors import ShapeError
from switchboard_kernels.tiles import PREFILL_BLOCK_M

_WANTED_PROGRAMS = 132
_BLOCK_K = 64


@triton.jit
def prefill_shrink_kernel(
    x_ptr,
    a0_ptr,
    a1_ptr,
    a2_ptr,
    h_ptr,
    rows_ptr,
    tiles_ptr,
    hidden,
    rank,
    scale,
    x_stride,
    a_slot_stride,
    h_part_stride,
    h_slice_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    SPLIT_K: tl.constexpr,
    SLICES: tl.constexpr,
):
    """One block of rows, one share of hidden, every slice: h[part, slice, position, rank]."""
    tile = tl.program_id(0)
    part = tl.program_id(1)
    count = tl.load(tiles_ptr + 3 * tile + 2)
    if count == 0:
        return
    slot = tl.load(tiles_ptr + 3 * tile).to(tl.int64)
    start = tl.load(tiles_ptr + 3 * tile + 1)
    m = tl.arange(0, BLOCK_M)
    r = tl.arange(0, BLOCK_R)
    valid_m = m < count
    valid_r = r < rank
    rows = tl.load(rows_ptr + start + m, mask=valid_m, other=0).to(tl.int64)
    x_rows = x_ptr + rows[:, None] * x_stride
    a_rows = slot * a_slot_stride + r[None, :].to(tl.int64) * hidden
    acc0 = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
    acc1 = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
    acc2 = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
    for k in range(part * BLOCK_K, hidden, SPLIT_K * BLOCK_K):
        cols = k + tl.arange(0, BLOCK_K)
        valid_k = cols < hidden
        xs = tl.load(x_rows + cols[None, :], mask=valid_m[:, None] & valid_k[None, :], other=0.0)
        at = a_rows + cols[:, None]
        valid_a = valid_r[None, :] & valid_k[:, None]
        acc0 = tl.dot(
            xs, tl.load(a0_ptr + at, mask=valid_a, other=0.0), acc0, input_precision="ieee"
        )
        if SLICES > 1:
            acc1 = tl.dot(
                xs, tl.load(a1_ptr + at, mask=valid_a, other=0.0), acc1, input_precision="ieee"
            )
        if SLICES > 2:
            acc2 = tl.dot(
                xs, tl.load(a2_ptr + at, mask=valid_a, other=0.0), acc2, input_precision="ieee"
            )
    positions = (start + m).to(tl.int64)
    at = h_ptr + part * h_part_stride + positions[:, None] * rank + r[None, :]
    valid = valid_m[:, None] & valid_r[None, :]
    tl.store(at, acc0 * scale, mask=valid)
    if SLICES > 1:
        tl.store(at + h_slice_stride, acc1 * scale, mask=valid)
    if SLICES > 2:
        tl.store(at + 2 * h_slice_stride, acc2 * scale, mask=valid)


def split_k(tiles: int, hidden: int) -> int:
    """Shares of hidden: one wave of programs where the rows alone are too few for it."""
    blocks = triton.cdiv(hidden, _BLOCK_K)
    wanted = max(1, _WANTED_PROGRAMS // max(1, tiles))
    return 1 << (min(blocks, wanted, 8).bit_length() - 1)


def prefill_shrink(
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    rows: torch.Tensor,
    tiles: torch.Tensor,
    *,
    scale: float = 1.0,
) -> torch.Tensor:
    """Compute every slice's scale · x Aᵀ.

    Args:
        x: (tokens, hidden), last dimension contiguous.
        a: One contiguous (slots, 1, rank, hidden) per slice, at most three.
        rows: Rows sorted by adapter, of ``TileTable``.
        tiles: (programs, 3) work list with blocks of ``PREFILL_BLOCK_M`` rows.
        scale: Multiplies the product.

    Returns:
        (parts, slices, tokens, rank) float32 in the order of ``rows``; positions of no block are
        not written. ``decode_shrink_expand.kernel.expand`` adds the parts.

    Raises:
        ShapeError: Too many slices, or layouts the kernel cannot read.
    """
    if not 1 <= len(a) <= MAX_SLICES or not all(w.is_contiguous() for w in a):
        raise ShapeError(f"{len(a)} slices: give 1 to {MAX_SLICES}, contiguous")
    tokens, hidden = x.shape
    rank = a[0].shape[-2]
    if a[0].shape[-1] != hidden or x.stride(1) != 1:
        raise ShapeError(f"x {tuple(x.shape)} and A {tuple(a[0].shape)}: hidden must agree")
    parts = split_k(tiles.shape[0], hidden)
    h = torch.empty((parts, len(a), tokens, rank), dtype=torch.float32, device=x.device)
    weights = [*a, *[a[0]] * (MAX_SLICES - len(a))]
    prefill_shrink_kernel[(tiles.shape[0], parts)](
        x,
        *weights,
        h,
        rows,
        tiles,
        hidden,
        rank,
        scale,
        x.stride(0),
        a[0].stride(0),
        h.stride(0),
        h.stride(1),
        BLOCK_M=PREFILL_BLOCK_M,
        BLOCK_K=min(_BLOCK_K, max(16, triton.next_power_of_2(hidden))),
        BLOCK_R=padded_rank(rank),
        SPLIT_K=parts,
        SLICES=len(a),
        num_warps=4,
        # Each stage holds x's block and one block of A per slice in shared memory.
        num_stages=4 if padded_rank(rank) <= 32 else 3,
    )
    return h
