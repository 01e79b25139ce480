"""GPU benchmark of ``prefill_shrink`` followed by expand: 1k to 8k tokens.

    python benchmarks/kernels/prefill_shrink.py [--sample 100]

Appends to ``benchmarks/results/kernels-gpu.csv``. Needs an NVIDIA GPU and vLLM.
"""

from __future__ import annotations

from gpu_grid import main

if __name__ == "__main__":
    main([1024, 4096, 8192], __doc__ or "")
