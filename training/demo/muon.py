"""Muon in float32: PyTorch's own always orthogonalizes in bfloat16, which most CPUs emulate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

# The quintic's coefficients, after Keller Jordan's Muon (2024), as in torch.optim.Muon.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5
_EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose updates are orthogonalized (Jordan et al., 2024).

    Matrices of one shape are orthogonalized together, which saves a small model most of the time
    of a step.
    """

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95) -> None:
        """Take matrices only.

        Args:
            params: The matrices, each (rows, columns).
            lr: Learning rate; scaled by sqrt(max(1, rows / columns)).
            momentum: Of the gradients' running sum.

        Raises:
            ValueError: A parameter is no matrix.
        """
        matrices = list(params)
        if any(p.ndim != 2 for p in matrices):
            raise ValueError("Muon takes matrices only")
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step; `closure` is PyTorch's signature and has no use here."""
        del closure
        for group in self.param_groups:
            momentum, shapes = group["momentum"], defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - momentum)
                shapes[p.shape].append((p, p.grad.lerp(buffer, momentum)))
            for (rows, columns), found in shapes.items():
                updates = orthogonalized(torch.stack([update for _, update in found]))
                rate = group["lr"] * max(1, rows / columns) ** 0.5
                for (p, _), update in zip(found, updates, strict=True):
                    p.sub_(update, alpha=rate)


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """About U V^T of each matrix's decomposition U S V^T, by a quintic Newton-Schulz iteration.

    Args:
        matrices: (matrices, rows, columns).

    Returns:
        The same shape; singular values lie about within 0.5 and 1.5.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT.contiguous() if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=_EPS)
    for _ in range(_STEPS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        x = torch.baddbmm(x, polynomial, x, beta=_A)
    flat: torch.Tensor = x.mT if tall else x
    return flat
