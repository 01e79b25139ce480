"""Plain-torch meaning of the kernel: the only baseline of its tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def prefill_shrink_reference(
    x: torch.Tensor, a: Sequence[torch.Tensor], indices: Sequence[int], *, scale: float = 1.0
) -> torch.Tensor:
    """Return scale · x Aᵀ for every token, in batch order and float64.

    Args:
        x: (tokens, hidden).
        a: One (slots, 1, rank, hidden) per slice.
        indices: Adapter slot of each token, negative for the base model.
        scale: Multiplies the product.

    Returns:
        (slices, tokens, rank), float64; zero for tokens on the base model.
    """
    out = torch.zeros((len(a), x.shape[0], a[0].shape[-2]), dtype=torch.float64)
    for token, slot in enumerate(indices):
        if slot >= 0:
            for number, weight in enumerate(a):
                out[number, token] = weight[slot, 0].double() @ x[token].double() * scale
    return out
