"""What encrypting the journal costs the hot path: ``python benchmarks/privacy/journal.py``.

Appends a captured stream of 48 tokens to a journal with and without a key, in turns, and writes
``journal.json``: medians of microseconds a frame, and their ratio round by round with its spread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
sys.path.append(str(Path(__file__).parents[2]))
from drain import payload
from environment import commit, environment, now
from ratios import spread
from results import RESULTS, write_json

from serving.capture import Journal
from serving.encryption import keyring
from serving.encryption.sealing import Sealer


def measure(frame: bytes, frames: int, sealer: Sealer | None) -> float:
    """Microseconds a frame of appending `frames` times."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(folder, "a", seal=sealer and sealer.seal)
        begun = time.perf_counter()
        for _ in range(frames):
            journal.append(frame)
        us = (time.perf_counter() - begun) / frames * 1e6
        journal.close()
    return us


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="Encrypted journal; see the head of this file.")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    frame, sealer = payload(), Sealer(keyring.parse(keyring.new_line("a")), "journal")
    runs = []
    for number in range(options.rounds):
        ways = {"plain": None, "encrypted": sealer}
        order = list(ways) if number % 2 else list(ways)[::-1]
        runs.append({way: measure(frame, options.frames, ways[way]) for way in order})
    result = {
        "frame_bytes": len(frame),
        "us_per_frame": {
            way: round(statistics.median(run[way] for run in runs), 2)
            for way in ("plain", "encrypted")
        },
        "ratios": {"encrypted_vs_plain": spread([r["encrypted"] / r["plain"] for r in runs])},
        "runs": runs,
        "environment": environment(),
        "commit": commit(),
        "time": now(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "journal.json", result)
    print(json.dumps({k: result[k] for k in ("frame_bytes", "us_per_frame", "ratios")}, indent=1))


if __name__ == "__main__":
    main()
