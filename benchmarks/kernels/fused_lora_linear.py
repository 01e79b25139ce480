"""Forward and backward of ``fused_lora_linear`` against PEFT's own, alternating.

    python benchmarks/kernels/fused_lora_linear.py [--rounds 9]

Appends to ``benchmarks/results/kernels-training.csv``; runs on the GPU where there is one.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now
from gpu_timing import append
from peft import LoraConfig, get_peft_model

from switchboard_kernels.fused_lora_linear import patch_peft

RESULT = Path(__file__).parents[1] / "results" / "kernels-training.csv"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [
    (tokens, hidden, rank, dropout)
    for tokens, hidden in (((4096, 4096), (8192, 4096)) if DEVICE == "cuda" else ((512, 256),))
    + (((1024, 1024),) if DEVICE == "cpu" else ())
    for rank in (8, 16, 64)
    for dropout in (0.0, 0.1)
]


def step(model: torch.nn.Module, x: torch.Tensor) -> float:
    """Seconds of one forward and backward."""
    start = time.perf_counter()
    model(x).sum().backward()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure every shape and append the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    where = environment()
    for tokens, hidden, rank, dropout in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            net = torch.nn.Sequential(torch.nn.Linear(hidden, hidden, bias=False))
            config = LoraConfig(
                r=rank, target_modules=["0"], lora_dropout=dropout, init_lora_weights=False
            )
            plain = get_peft_model(net.to(DEVICE, dtype), config).to(dtype)
            fused = copy.deepcopy(plain)
            patch_peft(fused)
            x = torch.randn(tokens, hidden, device=DEVICE, dtype=dtype, requires_grad=True)
            times: dict[str, list[float]] = {"fused": [], "peft": []}
            for number in range(rounds + 2):
                pair = [("fused", fused), ("peft", plain)]
                for name, model in pair if number % 2 == 0 else reversed(pair):
                    spent = step(model, x)
                    if number >= 2:
                        times[name].append(spent)
            ratios = [p / f for f, p in zip(times["fused"], times["peft"], strict=True)]
            row = {
                "kernel": "fused_lora_linear",
                "tokens": tokens,
                "hidden": hidden,
                "rank": rank,
                "dropout": dropout,
                "dtype": str(dtype).removeprefix("torch."),
                "fused_ms": f"{1e3 * statistics.median(times['fused']):.4g}",
                "peft_ms": f"{1e3 * statistics.median(times['peft']):.4g}",
                "peft_over_fused_median": f"{statistics.median(ratios):.3g}",
                "peft_over_fused_min": f"{min(ratios):.3g}",
                "peft_over_fused_max": f"{max(ratios):.3g}",
                "rounds": rounds,
                "device": where["gpu"] or where["cpu"],
                "torch": where.get("torch", ""),
                "peft": where.get("peft", ""),
                "commit": commit(),
                "time": now(),
            }
            append(RESULT, [row])
            print(row, flush=True)


if __name__ == "__main__":
    main()
