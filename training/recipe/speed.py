"""The recipe's section on speed: it changes how fast and in how much memory, not what is learned.

A step learns from the same examples with the same weights, whatever is chosen here.
"""

from typing import Literal

from pydantic import Field

from training.recipe.base import RecipeSection


class SpeedConfig(RecipeSection):
    """How an optimizer step is computed."""

    packing: bool = Field(
        True,
        description="Lay the examples of a step end to end instead of padding them; none sees "
        "another. Off where the base's attention does not allow it, and said so in the log.",
    )
    pack_length: int = Field(
        8192,
        ge=16,
        description="Most tokens in one forward pass; a step with more takes several, with the "
        "same gradient. Bounds the memory. A longer example goes alone.",
    )
    fused_lora: bool = Field(
        False,
        description="Run PEFT's LoRA layers by switchboard-kernels' fused_lora_linear. Brings "
        "nothing on a CPU, and was not measured on a GPU yet.",
    )
    liger: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Run norms, rotary embeddings and activations by Liger's kernels; auto on a "
        "GPU with liger-kernel installed.",
    )
