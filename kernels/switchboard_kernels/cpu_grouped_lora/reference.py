"""Plain-torch meaning of the op, one token at a time: the only baseline of the tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def cpu_grouped_lora_reference(
    y: torch.Tensor,
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    indices: torch.Tensor,
    *,
    scale: float = 1.0,
    offset: int = 0,
    add_inputs: bool = True,
) -> torch.Tensor:
    """Return what ``grouped_lora`` must leave in ``y``, computed in float64.

    Args:
        y: (tokens, columns), the base layer's output; not changed.
        x: (tokens, hidden).
        a: One (slots, 1, rank, hidden) per slice.
        b: One (slots, 1, slice columns, rank) per slice.
        indices: (tokens,) adapter slot of each token, -1 for the base model.
        scale: Multiplies the low-rank product.
        offset: First column of the first slice.
        add_inputs: Add to ``y``; otherwise the slices replace it.

    Returns:
        (tokens, columns) in float64; rows of index -1 equal ``y``'s.
    """
    out = y.double().clone()
    for token, slot in enumerate(indices.tolist()):
        if slot < 0:
            continue
        start = offset
        for a_slice, b_slice in zip(a, b, strict=True):
            h = a_slice[slot, 0].double() @ x[token].double() * scale
            delta = b_slice[slot, 0].double() @ h
            columns = slice(start, start + delta.numel())
            out[token, columns] = delta + (out[token, columns] if add_inputs else 0.0)
            start += delta.numel()
    return out
