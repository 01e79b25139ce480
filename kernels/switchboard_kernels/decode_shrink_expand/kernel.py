"""The Triton kernels of ``decode_shrink_expand`` and their launcher."""
# ruff: noqa: N803  Triton constants are upper case by convention

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from switchboard_kernels.errors import ShapeError
from switchboard_kernels.tiles import DECODE_BLOCK_M

MAX_SLICES = 3
# Programs wanted in the first launch: one wave over Hopper's 132 multiprocessors, doubled, since
# two of these small blocks fit on one.
_WANTED_PROGRAMS = 264
_BLOCK_K = 128
_BLOCK_N = 64


@triton.jit
def shrink_kernel(
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
):
    """One block of rows, one slice, one share of hidden: h[part, slice, position, rank]."""
    tile = tl.program_id(0)
    slice_id = tl.program_id(1)
    part = tl.program_id(2)
    count = tl.load(tiles_ptr + 3 * tile + 2)
    if count == 0:
        return
    slot = tl.load(tiles_ptr + 3 * tile).to(tl.int64)
    start = tl.load(tiles_ptr + 3 * tile + 1)
    a_ptr = a0_ptr
    if slice_id == 1:
        a_ptr = a1_ptr
    if slice_id == 2:
        a_ptr = a2_ptr

    m = tl.arange(0, BLOCK_M)
    r = tl.arange(0, BLOCK_R)
    valid_m = m < count
    valid_r = r < rank
    rows = tl.load(rows_ptr + start + m, mask=valid_m, other=0).to(tl.int64)
    x_rows = x_ptr + rows[:, None] * x_stride
    a_rows = a_ptr + slot * a_slot_stride + r[None, :].to(tl.int64) * hidden
    acc = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
    for k in range(part * BLOCK_K, hidden, SPLIT_K * BLOCK_K):
        cols = k + tl.arange(0, BLOCK_K)
        valid_k = cols < hidden
        xs = tl.load(x_rows + cols[None, :], mask=valid_m[:, None] & valid_k[None, :], other=0.0)
        ws = tl.load(a_rows + cols[:, None], mask=valid_r[None, :] & valid_k[:, None], other=0.0)
        acc = tl.dot(xs, ws, acc, input_precision="ieee")
    at = h_ptr + part * h_part_stride + slice_id * h_slice_stride
    positions = (start + m).to(tl.int64)
    tl.store(
        at + positions[:, None] * rank + r[None, :],
        acc * scale,
        mask=valid_m[:, None] & valid_r[None, :],
    )


@triton.jit
def expand_kernel(
    y_ptr,
    b0_ptr,
    b1_ptr,
    b2_ptr,
    h_ptr,
    rows_ptr,
    tiles_ptr,
    width0,
    width1,
    width2,
    offset,
    rank,
    y_stride,
    h_part_stride,
    h_slice_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
    PARTS: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
):
    """One block of rows, one block of a slice's columns: y += (sum of h's parts) Bᵀ."""
    tile = tl.program_id(0)
    block = tl.program_id(1)
    count = tl.load(tiles_ptr + 3 * tile + 2)
    if count == 0:
        return
    slot = tl.load(tiles_ptr + 3 * tile).to(tl.int64)
    start = tl.load(tiles_ptr + 3 * tile + 1)
    blocks0 = tl.cdiv(width0, BLOCK_N)
    blocks1 = tl.cdiv(width1, BLOCK_N)
    b_ptr = b0_ptr
    width = width0
    column = offset
    slice_id = 0
    first_block = 0
    if block >= blocks0:
        b_ptr = b1_ptr
        width = width1
        column = offset + width0
        slice_id = 1
        first_block = blocks0
    if block >= blocks0 + blocks1:
        b_ptr = b2_ptr
        width = width2
        column = offset + width0 + width1
        slice_id = 2
        first_block = blocks0 + blocks1

    m = tl.arange(0, BLOCK_M)
    n = (block - first_block) * BLOCK_N + tl.arange(0, BLOCK_N)
    r = tl.arange(0, BLOCK_R)
    valid_m = m < count
    valid_n = n < width
    valid_r = r < rank
    # Weights first: they come from memory, h from L2.
    at = b_ptr + slot * width * rank + n[None, :].to(tl.int64) * rank + r[:, None]
    ws = tl.load(at, mask=valid_n[None, :] & valid_r[:, None], other=0.0)
    positions = (start + m).to(tl.int64)
    h_at = h_ptr + slice_id * h_slice_stride + positions[:, None] * rank + r[None, :]
    h = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
    for part in tl.static_range(PARTS):
        h += tl.load(
            h_at + part * h_part_stride, mask=valid_m[:, None] & valid_r[None, :], other=0.0
        )
    out = tl.dot(h.to(ws.dtype), ws, input_precision="ieee")
    rows = tl.load(rows_ptr + start + m, mask=valid_m, other=0).to(tl.int64)
    y_at = y_ptr + rows[:, None] * y_stride + column + n[None, :]
    valid = valid_m[:, None] & valid_n[None, :]
    if ADD_INPUTS:
        out += tl.load(y_at, mask=valid, other=0.0).to(tl.float32)
    tl.store(y_at, out.to(y_ptr.dtype.element_ty), mask=valid)


def split_k(tiles: int, slices: int, hidden: int) -> int:
    """Shares of hidden: enough programs for the GPU, and every share with work."""
    blocks = triton.cdiv(hidden, _BLOCK_K)
    wanted = max(1, _WANTED_PROGRAMS // max(1, tiles * slices))
    # A power of two keeps the number of compiled variants small.
    return 1 << (min(blocks, wanted, 16).bit_length() - 1)


def padded_rank(rank: int) -> int:
    """Width of a block over the rank: a power of two that tensor cores take."""
    return max(16, triton.next_power_of_2(rank))


def shrink(
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    rows: torch.Tensor,
    tiles: torch.Tensor,
    *,
    scale: float = 1.0,
    block_m: int = DECODE_BLOCK_M,
) -> torch.Tensor:
    """First launch.

    Args:
        x: (tokens, hidden), last dimension contiguous.
        a: One contiguous (slots, 1, rank, hidden) per slice, at most ``MAX_SLICES``.
        rows: Rows sorted by adapter, of ``TileTable``.
        tiles: (programs, 3) work list.
        scale: Multiplies the product.
        block_m: Rows of a work item.

    Returns:
        (parts, slices, tokens, rank) float32 in the order of ``rows``; positions of no block are
        not written.

    Raises:
        ShapeError: Too many slices, or layouts the kernel cannot read.
    """
    _check_slices(a)
    tokens, hidden = x.shape
    rank = a[0].shape[-2]
    if a[0].shape[-1] != hidden or x.stride(1) != 1:
        raise ShapeError(f"x {tuple(x.shape)} and A {tuple(a[0].shape)}: hidden must agree")
    parts = split_k(tiles.shape[0], len(a), hidden)
    h = torch.empty((parts, len(a), tokens, rank), dtype=torch.float32, device=x.device)
    shrink_kernel[(tiles.shape[0], len(a), parts)](
        x,
        *_three(a),
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
        BLOCK_M=block_m,
        BLOCK_K=min(_BLOCK_K, max(16, triton.next_power_of_2(hidden))),
        BLOCK_R=padded_rank(rank),
        SPLIT_K=parts,
        num_warps=4,
        num_stages=3,
    )
    return h


def expand(
    y: torch.Tensor,
    h: torch.Tensor,
    b: Sequence[torch.Tensor],
    rows: torch.Tensor,
    tiles: torch.Tensor,
    *,
    offset: int = 0,
    add_inputs: bool = True,
    block_m: int = DECODE_BLOCK_M,
) -> None:
    """Second launch; also follows ``prefill_shrink``.

    Args:
        y: (tokens, columns), changed in place, last dimension contiguous.
        h: (parts, slices, tokens, rank) float32, in the order of ``rows``.
        b: One contiguous (slots, 1, slice columns, rank) per slice.
        rows: Rows sorted by adapter, of ``TileTable``.
        tiles: (programs, 3) work list, of the same ``block_m``.
        offset: First column of the first slice.
        add_inputs: Add to ``y``; otherwise the slices replace it.
        block_m: Rows of a work item.

    Raises:
        ShapeError: Too many slices, or columns beyond ``y``.
    """
    _check_slices(b)
    widths = [w.shape[-2] for w in b]
    if offset + sum(widths) > y.shape[1] or y.stride(1) != 1:
        raise ShapeError(f"slices {widths} from column {offset} do not fit y {tuple(y.shape)}")
    blocks = sum(triton.cdiv(width, _BLOCK_N) for width in widths)
    expand_kernel[(tiles.shape[0], blocks)](
        y,
        *_three(b),
        h,
        rows,
        tiles,
        *(widths + [0] * (MAX_SLICES - len(widths))),
        offset,
        b[0].shape[-1],
        y.stride(0),
        h.stride(0),
        h.stride(1),
        BLOCK_M=block_m,
        BLOCK_N=_BLOCK_N,
        BLOCK_R=padded_rank(b[0].shape[-1]),
        PARTS=h.shape[0],
        ADD_INPUTS=add_inputs,
        # With 64 rows four warps would hold 64 x 64 of h in too few registers and spill.
        num_warps=4 if block_m <= 16 else 8,
        num_stages=2,
    )


def decode_shrink_expand(
    y: torch.Tensor,
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    rows: torch.Tensor,
    tiles: torch.Tensor,
    *,
    scale: float = 1.0,
    offset: int = 0,
    add_inputs: bool = True,
) -> None:
    """Both launches; see ``shrink`` and ``expand`` for the arguments."""
    h = shrink(x, a, rows, tiles, scale=scale)
    expand(y, h, b, rows, tiles, offset=offset, add_inputs=add_inputs)


def _three(weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [*weights, *[weights[0]] * (MAX_SLICES - len(weights))]


def _check_slices(weights: Sequence[torch.Tensor]) -> None:
    if not 1 <= len(weights) <= MAX_SLICES:
        raise ShapeError(f"{len(weights)} slices: the kernel takes 1 to {MAX_SLICES}")
    if not all(w.is_contiguous() for w in weights):
        raise ShapeError("stacked weights must be contiguous")
