"""Attention over examples that lie end to end in one row, each by itself.

Transformers makes a block-diagonal mask where positions start anew, and SDPA then computes every
block, the masked ones too. Here each example is a causal call of its own: no mask, no wasted
product, and PyTorch's flash kernels on a CPU as on a GPU. `PACK_LENGTHS` reaches the attention as
a keyword of the model's forward.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "switchboard_packed"
PACK_LENGTHS = "pack_lengths"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    pack_lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each example.

    Args:
        module: The attention layer.
        query: (1, heads, tokens, head width), likewise `key` and `value` with their heads.
        key: See `query`.
        value: See `query`.
        attention_mask: None where examples are packed.
        pack_lengths: Tokens of each example, in their order; None where nothing is packed.
        **kwargs: What transformers' SDPA takes.

    Returns:
        (1, tokens, heads, head width), and None for the weights.
    """
    if pack_lengths is None:
        alone: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return alone
    sizes = list(pack_lengths)
    parts = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    out = [sdpa_attention_forward(module, q, k, v, None, **kwargs)[0] for q, k, v in parts]
    return torch.cat(out, dim=1), None


def obstacle(config: Any) -> str | None:
    """Return why a model's examples cannot be packed this way, or None if they can.

    Args:
        config: The model's configuration.
    """
    text = config.get_text_config()
    kinds = {*(getattr(text, "layer_types", None) or ())} - {"full_attention"}
    if kinds:
        return f"it has layers of the kinds {', '.join(sorted(kinds))}"
    if getattr(text, "sliding_window", None) and not getattr(text, "layer_types", None):
        return "its attention slides"
    if getattr(text, "attn_logit_softcapping", None):
        return "its attention caps the logits"
    if not getattr(text, "num_attention_heads", None):
        return "it has no attention"
    return None


def use(model: Any) -> None:
    """Let a model attend within packed examples.

    Args:
        model: The base, or a PEFT model of it.
    """
    AttentionInterface.register(NAME, packed_attention)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation(NAME)
