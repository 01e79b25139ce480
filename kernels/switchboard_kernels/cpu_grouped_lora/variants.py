"""The instruction sets that ``native.cpp`` is compiled for, best first; torch is not imported."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "native.cpp"
HEADERS = (FOLDER / "simd_avx2.h", FOLDER / "simd_avx512.h")
PREBUILT = FOLDER / "prebuilt"
"""Where a wheel carries the libraries; absent in a source tree."""

# OpenMP is compiled in and left unresolved at link time: see `native._share_openmp`.
COMPILE = ("-O3", "-fopenmp", "-fPIC", "-std=c++17", "-w", "-c")


class Variant(NamedTuple):
    """One build.

    Args:
        name: As its file is called.
        march: What the compiler is told.
        needs: Flags of ``/proc/cpuinfo`` that a CPU must have for it.
    """

    name: str
    march: tuple[str, ...]
    needs: frozenset[str]

    @property
    def prebuilt(self) -> Path:
        """Where a wheel carries it."""
        return PREBUILT / f"grouped_lora_{self.name}.so"


_AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd"})
VARIANTS = (
    Variant(
        "avx512bf16",
        ("-march=x86-64-v4", "-mavx512bf16"),
        _AVX512 | {"avx512_bf16", "avx2", "fma"},
    ),
    Variant("avx512", ("-march=x86-64-v4",), _AVX512 | {"avx2", "fma"}),
    Variant("avx2", ("-march=x86-64-v3",), frozenset({"avx2", "fma", "bmi2", "f16c", "movbe"})),
)


def best(flags: Collection[str]) -> Variant | None:
    """Return the best variant that a CPU with these flags can run, if any."""
    return next((one for one in VARIANTS if one.needs <= set(flags)), None)
