"""Plain-torch meaning of the kernel: the only baseline of its tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def decode_shrink_expand_reference(
    y: torch.Tensor,
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    indices: Sequence[int],
    *,
    scale: float = 1.0,
    offset: int = 0,
    add_inputs: bool = True,
) -> torch.Tensor:
    """Return in float64 what ``decode_shrink_expand`` must leave in ``y``.

    Args:
        y: (tokens, columns); not changed.
        x: (tokens, hidden).
        a: One (slots, 1, rank, hidden) per slice.
        b: One (slots, 1, slice columns, rank) per slice.
        indices: Adapter slot of each token, negative for the base model.
        scale: Multiplies the low-rank product.
        offset: First column of the first slice.
        add_inputs: Add to ``y``; otherwise the slices replace it.

    Returns:
        (tokens, columns), float64.
    """
    out = y.double().clone()
    for token, slot in enumerate(indices):
        if slot < 0:
            continue
        start = offset
        for a_slice, b_slice in zip(a, b, strict=True):
            h = a_slice[slot, 0].double() @ x[token].double() * scale
            stop = start + b_slice.shape[-2]
            before = out[token, start:stop] if add_inputs else 0.0
            out[token, start:stop] = before + b_slice[slot, 0].double() @ h
            start = stop
    return out
