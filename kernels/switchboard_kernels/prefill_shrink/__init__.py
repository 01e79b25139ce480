"""Prefill shrink: h = scale · x Aᵀ for every slice and the full rank in one pass over x.

Formula, for token t with adapter slot i, all slices s at once::

    h[k, s, t] = Σ over the k-th share of hidden of scale · x[t] · A[i, s]ᵀ

vLLM launches a program per slice and per 16 ranks, each reading x again: slices·rank/16 passes
over the only large operand. Here a program holds the accumulators of all slices. The work list and
the expand launch are those of ``decode_shrink_expand``, with blocks of 64 rows; index -1 is in no
block.

Accumulation: float32.

Bytes, T tokens, S slices, g adapters, e bytes an element, k parts: e·T·hidden for x (once) +
g·e·S·rank·hidden + 4·k·T·S·rank. Operations: 2·T·S·rank·hidden, so 2·S·rank/e per byte of x:
memory bound on Hopper below S·rank of about 300 in bf16.

Source: grouped products of Chen et al. 2023, Punica, arXiv 2310.18547; several right-hand sides
over one read of the left, as in a multi-output GEMM.
"""
