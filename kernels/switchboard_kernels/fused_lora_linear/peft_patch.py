"""Hooks the op into PEFT: each plain LoRA linear of a model runs as one node.

Only what the op computes exactly is taken over, decided at every call: one active adapter, plain
LoRA (no DoRA, no bias of its own, no variant), not merged, frozen base. Everything else runs
PEFT's own forward.
"""

from __future__ import annotations

import types
from typing import Any

import torch

from switchboard_kernels.fused_lora_linear.op import fused_lora_linear

_ORIGINAL = "_switchboard_original_forward"


def patch_peft(model: torch.nn.Module) -> int:
    """Let a PEFT model's LoRA linears run fused; patched ones are left as they are.

    Args:
        model: What ``peft.get_peft_model`` returned.

    Returns:
        How many linears run fused now.
    """
    from peft.tuners.lora import Linear

    kinds: tuple[type, ...] = (Linear,)
    try:
        from peft.tuners.lora.bnb import Linear4bit

        kinds += (Linear4bit,)
    except ImportError:
        pass
    count = 0
    layers: list[Any] = [module for module in model.modules() if isinstance(module, kinds)]
    for module in layers:
        if isinstance(module.get_base_layer(), torch.nn.Linear):
            if not hasattr(module, _ORIGINAL):
                setattr(module, _ORIGINAL, module.forward)
                module.forward = types.MethodType(_forward, module)
            count += 1
    return count


def unpatch_peft(model: torch.nn.Module) -> int:
    """Give a model's linears PEFT's own forward back.

    Args:
        model: A model that ``patch_peft`` saw.

    Returns:
        How many were patched.
    """
    count = 0
    for module in model.modules():
        if hasattr(module, _ORIGINAL):
            delattr(module, _ORIGINAL)
            del module.forward  # the class's own shows again
            count += 1
    return count


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    name = _fusible_adapter(self, args, kwargs)
    if name is None:
        result: torch.Tensor = getattr(self, _ORIGINAL)(x, *args, **kwargs)
        return result
    base = self.get_base_layer()
    a, b, weight, bias = self.lora_A[name].weight, self.lora_B[name].weight, base.weight, base.bias
    quant_state = getattr(weight, "quant_state", None)
    device = x.device.type
    # Under autocast, the type each of PEFT's linears would take for itself. Without, x's: adapters
    # kept in float32 beside a bfloat16 base are rounded for the products, so that they run at the
    # base's speed; their gradients stay float32.
    wanted = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    x, a, b = x.to(wanted), a.to(wanted), b.to(wanted)
    dropout = self.lora_dropout[name]
    probability = dropout.p if isinstance(dropout, torch.nn.Dropout) and self.training else 0.0
    with torch.autocast(device, enabled=False):
        return fused_lora_linear(
            x,
            weight.data if quant_state is not None else weight,
            None if bias is None else bias.to(wanted),
            a,
            b,
            self.scaling[name],
            dropout=probability,
            quant_state=quant_state,
        )


def _fusible_adapter(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Name of the one adapter the op can apply, or None to use PEFT's forward."""
    if args or kwargs or layer.disable_adapters or layer.merged:
        return None
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    base = layer.get_base_layer()
    if len(active) != 1 or base.weight.requires_grad:
        return None
    if base.bias is not None and base.bias.requires_grad:
        return None
    name: str = active[0]
    plain = (
        name not in getattr(layer, "lora_variant", {})
        and not layer.use_dora.get(name, False)
        and not layer.lora_bias.get(name, False)
        and isinstance(layer.lora_dropout[name], torch.nn.Identity | torch.nn.Dropout)
        and not getattr(layer, "fan_in_fan_out", False)
    )
    return name if plain else None
