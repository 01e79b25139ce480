"""Plain-torch meaning of the op, differentiated by autograd: the only baseline of the tests."""

from __future__ import annotations

import torch


def fused_lora_linear_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    a: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return x Wᵀ + bias + scale · (mask∘x / (1 - dropout)) Aᵀ Bᵀ.

    Args:
        x: (..., hidden).
        weight: (columns, hidden).
        bias: (columns,) or None.
        a: (rank, hidden).
        b: (columns, rank).
        scale: Multiplies the low-rank product.
        mask: x's shape, true where a value is kept; None keeps all.
        dropout: Probability that a value was dropped.

    Returns:
        (..., columns).
    """
    kept = x if mask is None else x * mask / (1.0 - dropout)
    return torch.nn.functional.linear(x, weight, bias) + scale * (kept @ a.t() @ b.t())
