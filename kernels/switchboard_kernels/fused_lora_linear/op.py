"""The autograd node of ``fused_lora_linear``."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from switchboard_kernels.errors import ShapeError


class _FusedLoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        quant_state: Any,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
        mask: torch.Tensor | None,
        keep: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        h = torch.mm(_dropped(rows, mask, keep), a.t())
        y = torch.nn.functional.linear(rows, _dense(weight, quant_state, x.dtype), bias)
        y.addmm_(h, b.t(), alpha=scale)
        ctx.save_for_backward(x, weight, a, b, h, mask)
        ctx.quant_state, ctx.scale, ctx.keep = quant_state, scale, keep
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, h, mask = ctx.saved_tensors
        rows = x.reshape(-1, x.shape[-1])
        dy = grad.reshape(-1, grad.shape[-1])
        needs_x, needs_a, needs_b = (ctx.needs_input_grad[i] for i in (0, 4, 5))
        dx = da = db = dh = None
        if needs_b:
            db = torch.mm(dy.t(), h).mul_(ctx.scale)
        if needs_a or needs_x:
            dh = torch.mm(dy, b).mul_(ctx.scale)
        if needs_a and dh is not None:
            da = torch.mm(dh.t(), _dropped(rows, mask, ctx.keep))
        if needs_x and dh is not None:
            dx = torch.mm(dy, _dense(weight, ctx.quant_state, dy.dtype))
            if mask is None:
                dx.addmm_(dh, a)
            else:
                dx.addcmul_(torch.mm(dh, a), mask.view_as(dx), value=1.0 / ctx.keep)
            dx = dx.view_as(x)
        return dx, None, None, None, da, db, None, None, None


def fused_lora_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    a: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    *,
    dropout: float = 0.0,
    mask: torch.Tensor | None = None,
    quant_state: Any = None,
) -> torch.Tensor:
    """Frozen linear with a trainable low-rank update.

    Args:
        x: (..., hidden).
        weight: (columns, hidden), frozen; bitsandbytes' packed data with ``quant_state``.
        bias: (columns,), frozen, or None.
        a: (rank, hidden).
        b: (columns, rank).
        scale: Multiplies the low-rank product.
        dropout: Probability of dropping a value of x on the low-rank path.
        mask: x's shape, bool, true where kept; drawn here when None and ``dropout`` is above 0.
        quant_state: What bitsandbytes needs to dequantize ``weight``; None for a dense weight.

    Returns:
        (..., columns), of x's type.

    Raises:
        ShapeError: The shapes or types do not fit, or the frozen weights ask for gradients.
    """
    columns, rank = b.shape
    if a.shape != (rank, x.shape[-1]):
        raise ShapeError(f"A {tuple(a.shape)} must be ({rank}, {x.shape[-1]})")
    if quant_state is None and weight.shape != (columns, x.shape[-1]):
        raise ShapeError(f"weight {tuple(weight.shape)} must be ({columns}, {x.shape[-1]})")
    if not x.dtype == a.dtype == b.dtype:
        raise ShapeError(f"x is {x.dtype}, A {a.dtype}, B {b.dtype}: give one type")
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        raise ShapeError("the base weight and bias must be frozen: requires_grad is set")
    if not 0.0 <= dropout < 1.0:
        raise ShapeError(f"dropout={dropout}: give a probability from 0 up to, not including, 1")
    if mask is None and dropout > 0.0:
        mask = torch.empty(x.shape, dtype=torch.bool, device=x.device).bernoulli_(1.0 - dropout)
    out: torch.Tensor = _FusedLoraLinear.apply(  # type: ignore[no-untyped-call]
        x, weight, quant_state, bias, a, b, scale, mask, 1.0 - dropout
    )
    return out


def _dropped(rows: torch.Tensor, mask: torch.Tensor | None, keep: float) -> torch.Tensor:
    if mask is None:
        return rows
    return torch.mul(rows, mask.view_as(rows)).mul_(1.0 / keep)


def _dense(weight: torch.Tensor, quant_state: Any, dtype: torch.dtype) -> torch.Tensor:
    if quant_state is None:
        return weight.to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    dense: torch.Tensor = dequantize_4bit(weight, quant_state)
    return dense.to(dtype)
