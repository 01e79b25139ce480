"""The op in torch: per adapter dense products, or one gather for rows that have few peers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from switchboard_kernels.cpu_grouped_lora.groups import Group, TokenGroups, check_rows
from switchboard_kernels.errors import ShapeError

# Copying this many weights costs about what the calls of one more product per adapter cost, so
# adapters with fewer (tokens x weights) are gathered (measured on two AVX-512 cores).
GATHER_BELOW_WEIGHTS_PER_ADAPTER = 60_000


def grouped_lora(
    y: torch.Tensor,
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    slices: Sequence[int],
    groups: TokenGroups,
    *,
    scale: float = 1.0,
    offset: int = 0,
    add_inputs: bool = True,
) -> None:
    """Apply each row's adapter to ``y`` in place; rows on the base model keep their bits.

    Args:
        y: (tokens, columns), changed in place.
        x: (tokens, hidden).
        a: One (slots, 1, rank, hidden) per slice.
        b: One (slots, 1, slice columns, rank) per slice.
        slices: Columns of each slice.
        groups: The batch sorted by adapter.
        scale: Multiplies the low-rank product.
        offset: First column of the first slice.
        add_inputs: Add to ``y``; otherwise the slices replace it.

    Raises:
        ShapeError: The tensors do not fit together.
    """
    if not groups.groups:
        return
    _check(y, x, a, b, slices, groups, offset)
    shrunk = grouped_shrink(x, a, groups, scale=scale, dtype=y.dtype)
    _expand(y, shrunk, b, slices, groups, offset=offset, add_inputs=add_inputs)


def grouped_shrink(
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    groups: TokenGroups,
    *,
    scale: float,
    dtype: torch.dtype,
) -> list[torch.Tensor]:
    """Compute scale · x Aᵀ for the rows that have an adapter.

    Args:
        x: (tokens, hidden).
        a: One (slots, 1, rank, hidden) per slice.
        groups: The batch sorted by adapter.
        scale: Multiplies the product.
        dtype: Type of the result.

    Returns:
        One (adapter rows, rank) per slice, in the order of ``groups.rows``.

    Raises:
        ShapeError: ``x`` has too few rows.
    """
    check_rows(groups.tokens, x)
    rows = _rows(x, groups)
    if _gather_is_cheaper(groups, a):
        return [
            _scaled(
                torch.bmm(w[groups.slots, 0].to(x.dtype), rows.unsqueeze(2))[..., 0], scale, dtype
            )
            for w in a
        ]
    out = []
    for w in a:
        h = torch.empty((rows.shape[0], w.shape[-2]), dtype=x.dtype)
        for group in groups.groups:
            part = slice(group.start, group.stop)
            torch.mm(rows[part], w[group.slot, 0].to(x.dtype).t(), out=h[part])
        out.append(_scaled(h, scale, dtype))
    return out


def grouped_expand(
    y: torch.Tensor,
    shrunk: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    slices: Sequence[int],
    groups: TokenGroups,
    *,
    offset: int = 0,
    add_inputs: bool = True,
) -> None:
    """Add h Bᵀ to the rows of ``y`` that have an adapter.

    Args:
        y: (tokens, columns), changed in place.
        shrunk: One (tokens, rank) per slice, in batch order.
        b: One (slots, 1, slice columns, rank) per slice.
        slices: Columns of each slice.
        groups: The batch sorted by adapter.
        offset: First column of the first slice.
        add_inputs: Add to ``y``; otherwise the slices replace it.

    Raises:
        ShapeError: ``y`` or a slice of ``shrunk`` has too few rows.
    """
    if groups.groups:
        check_rows(groups.tokens, y, *shrunk)
        sorted_rows = [_rows(h, groups).to(y.dtype) for h in shrunk]
        _expand(y, sorted_rows, b, slices, groups, offset=offset, add_inputs=add_inputs)


def _expand(
    y: torch.Tensor,
    shrunk: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    slices: Sequence[int],
    groups: TokenGroups,
    *,
    offset: int,
    add_inputs: bool,
) -> None:
    start = offset
    gather = _gather_is_cheaper(groups, b)
    for h, w, width in zip(shrunk, b, slices, strict=True):
        # vLLM pads the two sides differently for vocabularies: the common columns count.
        width = min(width, w.shape[-2], y.shape[1] - start)
        columns = y[:, start : start + width]
        if gather:
            delta = torch.bmm(w[groups.slots, 0, :width].to(y.dtype), h.unsqueeze(2))[..., 0]
            _store(columns, delta, groups.rows, add_inputs)
        else:
            for group in groups.groups:
                _expand_group(columns, h[group.start : group.stop], w, group, groups, add_inputs)
        start += width


def _expand_group(
    columns: torch.Tensor,
    h: torch.Tensor,
    w: torch.Tensor,
    group: Group,
    groups: TokenGroups,
    add_inputs: bool,
) -> None:
    weight = w[group.slot, 0, : columns.shape[1]].to(columns.dtype).t()
    if group.first_row is None:
        _store(columns, torch.mm(h, weight), groups.rows[group.start : group.stop], add_inputs)
        return
    target = columns[group.first_row : group.first_row + h.shape[0]]
    if add_inputs:
        target.addmm_(h, weight)
    else:
        target.copy_(torch.mm(h, weight))


def _store(columns: torch.Tensor, delta: torch.Tensor, rows: torch.Tensor, add: bool) -> None:
    if add:
        columns.index_add_(0, rows, delta)
    else:
        columns.index_copy_(0, rows, delta)


def _rows(x: torch.Tensor, groups: TokenGroups) -> torch.Tensor:
    """Rows of ``x`` in the groups' order; a view when one adapter holds consecutive rows."""
    if len(groups.groups) == 1 and groups.groups[0].first_row is not None:
        first = groups.groups[0].first_row
        return x[first : first + groups.groups[0].stop]
    return x.index_select(0, groups.rows)


def _gather_is_cheaper(groups: TokenGroups, weights: Sequence[torch.Tensor]) -> bool:
    """Whether to copy the weights per row rather than run one product per adapter."""
    per_row = sum(w.shape[-2] * w.shape[-1] for w in weights)
    return len(groups.rows) * per_row < GATHER_BELOW_WEIGHTS_PER_ADAPTER * len(groups.groups)


def _scaled(h: torch.Tensor, scale: float, dtype: torch.dtype) -> torch.Tensor:
    return (h if scale == 1.0 else h * scale).to(dtype)


def _check(
    y: torch.Tensor,
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    slices: Sequence[int],
    groups: TokenGroups,
    offset: int,
) -> None:
    if not len(a) == len(b) == len(slices):
        raise ShapeError(f"{len(a)} A, {len(b)} B and {len(slices)} slices: give one each a slice")
    check_rows(groups.tokens, y, x)
    if offset + sum(slices) > y.shape[1]:
        raise ShapeError(
            f"slices {tuple(slices)} from column {offset} exceed y's {y.shape[1]} columns"
        )
