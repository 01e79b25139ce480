"""Lets the tests import the benchmarks' modules, which are scripts and no package."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (
    "benchmarks",
    "benchmarks/serving",
    "benchmarks/real",
    "benchmarks/privacy",
    "benchmarks/guards",
    "benchmarks/chaos",
    ".cache/bench/real",
):
    sys.path.append(str(ROOT / folder))
