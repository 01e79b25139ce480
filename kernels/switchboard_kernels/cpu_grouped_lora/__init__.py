"""Grouped multi-LoRA on CPU: y += scale · (x Aᵀ) Bᵀ, each row through its own adapter.

Formula, for token t with adapter slot i = index[t] and slice s of the output columns::

    h[t, s] = round(x[t] · A[i, s]ᵀ · scale)        A: (slots, 1, rank, hidden)
    y[t, s] += h[t, s] · B[i, s]ᵀ                   B: (slots, 1, columns, rank)

Rows with index -1 are never read or written: a request on the base model keeps its bits.

Accumulation: float32 inside each product; h is rounded once to y's type, as vLLM does it.

Bytes per call, g active adapters, T tokens, e bytes an element: g·e·rank·(S·hidden + columns) of
weights, read once per adapter, plus e·T·(hidden + 2·columns) of rows. vLLM's op reads the weights
once per *token*, and writes and rereads the copies: 3·T/g times as much. Operations:
2·T·rank·(S·hidden + columns) in both.

Source: grouped (segmented) gather matrix products, Chen et al. 2023, Punica, arXiv 2310.18547,
and Sheng et al. 2023, S-LoRA, arXiv 2311.03285. Upstream reports of the -1 bug: vLLM pull
requests #48421 and #49656.
"""

from switchboard_kernels.cpu_grouped_lora.groups import TokenGroups
from switchboard_kernels.cpu_grouped_lora.op import grouped_expand, grouped_lora, grouped_shrink

__all__ = ["TokenGroups", "grouped_expand", "grouped_lora", "grouped_shrink"]
