"""Decode-step LoRA in two Triton launches: y += (scale · x Aᵀ) Bᵀ for 1 to 256 tokens.

Formula, for token t with adapter slot i and output slice s::

    h[k, t, s] = Σ over the k-th share of hidden of scale · x[t] · A[i, s]ᵀ      launch 1
    y[t, s]   += cast(Σ_k h[k, t, s]) · B[i, s]ᵀ                                  launch 2

Rows with index -1 are in no block of the work list (``switchboard_kernels.tiles``), so nothing
reads or writes them. No atomics and no zero fill: each program of launch 1 owns its share of ``h``,
and launch 2 adds the shares, in a fixed order, so results repeat bit for bit. The split of hidden
never has more parts than blocks of columns. Grids depend on tokens and slots alone: CUDA-graph
safe.

Accumulation: float32 in both launches; ``h`` is cast to the weights' type before the second
product, as vLLM does it.

Bytes, g active adapters, T tokens, S slices, N output columns, e bytes an element, k parts:
g·e·rank·(S·hidden + N) weights + e·T·(S·hidden + 2N) rows + 8·k·T·S·rank for ``h``, which stays
in L2. Operations: 2·T·rank·(S·hidden + N): at decode sizes the weights' bytes decide.

Source: SGMV of Chen et al. 2023, Punica, arXiv 2310.18547; the split with a separate, ordered
reduction is the stream-K "fixup" without atomics, Osama et al. 2023, arXiv 2301.03598.
"""
