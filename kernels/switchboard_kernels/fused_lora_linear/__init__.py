"""LoRA linear for training as one autograd node: y = x Wᵀ + bias + s · (m∘x Aᵀ) Bᵀ.

Forward, with m the dropout mask divided by its keep probability (all ones without dropout)::

    h = (m∘x) Aᵀ            y = x Wᵀ + bias;  y += s · h Bᵀ        in place, as the GEMM's epilogue

Backward, W and bias frozen::

    dh = s · dy B           dB = s · dyᵀ h          dA = dhᵀ (m∘x)
    dx = dy W;  dx += m∘(dh A)                      in place

Accumulation: float32 inside each product (the backend's), results in the inputs' type.

Saved for backward: x, h and, with dropout, one byte a value of the mask. PEFT's graph of seven
nodes also keeps the dropped-out copy of x and the scaled update, and adds the update by a pass of
its own: 3 reads and 2 writes of a (tokens, columns) array more in forward, 2 and 1 of
(tokens, hidden) more in backward. Operations are PEFT's: 2·T·(hidden·columns + rank·(hidden +
columns)) forward, the same plus 2·T·rank·(hidden + columns) backward.

A 4-bit base (bitsandbytes) is dequantized in forward and again in backward, never kept.

Source: Hu et al. 2021, LoRA, arXiv 2106.09685; the manual backward as in Unsloth
(https://github.com/unslothai/unsloth) and the fusions of Zhu et al. 2025, LoRAFusion, arXiv
2510.00206. No code was taken.
"""

from switchboard_kernels.fused_lora_linear.op import fused_lora_linear
from switchboard_kernels.fused_lora_linear.peft_patch import patch_peft, unpatch_peft

__all__ = ["fused_lora_linear", "patch_peft", "unpatch_peft"]
