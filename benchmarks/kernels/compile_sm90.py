"""Compiles the Triton kernels for sm_90 without a GPU and writes registers and spills as a table.

    python benchmarks/kernels/compile_sm90.py

writes ``benchmarks/results/kernels-sm90.csv``. Any spill is worth a look before a GPU run.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from switchboard_kernels.decode_shrink_expand.kernel import expand_kernel, shrink_kernel
from switchboard_kernels.prefill_shrink.kernel import prefill_shrink_kernel

RESULT = Path(__file__).parents[1] / "results" / "kernels-sm90.csv"
_SHRINK = {
    **dict.fromkeys(("x_ptr", "a0_ptr", "a1_ptr", "a2_ptr"), "*bf16"),
    "h_ptr": "*fp32",
    "rows_ptr": "*i32",
    "tiles_ptr": "*i32",
    "hidden": "i32",
    "rank": "i32",
    "scale": "fp32",
    **dict.fromkeys(("x_stride", "a_slot_stride", "h_part_stride", "h_slice_stride"), "i32"),
}
_EXPAND = {
    **dict.fromkeys(("y_ptr", "b0_ptr", "b1_ptr", "b2_ptr"), "*bf16"),
    "h_ptr": "*fp32",
    "rows_ptr": "*i32",
    "tiles_ptr": "*i32",
    **dict.fromkeys(("width0", "width1", "width2", "offset", "rank", "y_stride"), "i32"),
    "h_part_stride": "i32",
    "h_slice_stride": "i32",
}


def variants() -> list[tuple[Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """Each kernel with the constants of the shapes that matter: ranks 8 to 64, both phases."""
    out: list[tuple[Any, dict[str, str], dict[str, Any], dict[str, int]]] = []
    for block_r in (16, 32, 64):
        split = {"BLOCK_M": 16, "BLOCK_K": 128, "BLOCK_R": block_r, "SPLIT_K": 16}
        out.append((shrink_kernel, _SHRINK, split, {"num_warps": 4, "num_stages": 3}))
        for block_m, parts in ((16, 16), (64, 8), (64, 1)):
            constants = {"BLOCK_M": block_m, "BLOCK_N": 64, "BLOCK_R": block_r}
            constants |= {"PARTS": parts, "ADD_INPUTS": True}
            options = {"num_warps": 4 if block_m <= 16 else 8, "num_stages": 2}
            out.append((expand_kernel, _EXPAND, constants, options))
        for slices in (1, 2, 3):
            constants = {"BLOCK_M": 64, "BLOCK_K": 64, "BLOCK_R": block_r}
            constants |= {"SPLIT_K": 2, "SLICES": slices}
            stages = 4 if block_r <= 32 else 3
            options = {"num_warps": 4, "num_stages": stages}
            out.append((prefill_shrink_kernel, _SHRINK, constants, options))
    return out


def compile_one(
    kernel: Any, signature: dict[str, str], constants: dict[str, Any], options: dict[str, int]
) -> dict[str, Any]:
    """Compile one variant; returns a row of the table."""
    # What the JIT finds at run time: pointers and the sizes of real models are multiples of 16.
    aligned = [i for i, name in enumerate(signature) if name not in ("scale", "offset")]
    source = ASTSource(
        fn=kernel,
        signature=signature | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "kernel.ptx"
        ptx.write_text(compiled.asm["ptx"])
        command = [ptxas(), "-v", "--gpu-name", "sm_90a", str(ptx), "-o", str(ptx) + ".cubin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"ptxas failed: {done.stderr}")
    report = done.stderr + done.stdout
    return {
        "kernel": kernel.fn.__name__,
        "constants": " ".join(f"{name}={value}" for name, value in constants.items()),
        **options,
        "registers": found(r"Used (\d+) registers", report),
        "spill_stores_bytes": found(r"(\d+) bytes spill stores", report),
        "spill_loads_bytes": found(r"(\d+) bytes spill loads", report),
        "shared_bytes": compiled.metadata.shared,
        "tensor_core": "wgmma" if "wgmma" in compiled.asm["ptx"] else "mma",
        "triton": triton.__version__,
    }


def found(pattern: str, text: str) -> int:
    """First number that ``pattern`` captures, 0 when absent."""
    match = re.search(pattern, text)
    return int(match.group(1)) if match else 0


def ptxas() -> str:
    """The assembler that Triton itself uses for this target."""
    from triton.backends.nvidia.compiler import get_ptxas

    return str(get_ptxas(90).path)


def main() -> None:
    """Compile everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    out = parser.parse_args().out
    rows = [compile_one(*variant) for variant in variants()]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
