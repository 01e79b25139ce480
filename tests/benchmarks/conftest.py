"""Lets the tests import the benchmarks' modules, which are scripts and no package."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "serving"))
