"""What the serving benchmarks share is found by a script started from anywhere."""

import subprocess
import sys
from pathlib import Path

SERVING = Path(__file__).parents[2] / "benchmarks" / "serving"


def test_the_tests_checkpoints_are_found_wherever_a_benchmark_starts(tmp_path: Path) -> None:
    script = f"import sys; sys.path[0] = {str(SERVING)!r}; import drive, tests.tiny_checkpoint"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
