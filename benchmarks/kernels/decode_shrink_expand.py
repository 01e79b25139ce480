"""GPU benchmark of ``decode_shrink_expand``: 1 to 256 tokens.

    python benchmarks/kernels/decode_shrink_expand.py [--sample 200]

Appends to ``benchmarks/results/kernels-gpu.csv``. Needs an NVIDIA GPU and vLLM.
"""

from __future__ import annotations

from gpu_grid import main

if __name__ == "__main__":
    main([1, 8, 32, 64, 128, 256], __doc__ or "")
