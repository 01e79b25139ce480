"""Nights on real dialogs, one after the other through time: ``python benchmarks/real/cycles.py``.

    python benchmarks/real/cycles.py [--line hotel] [--cycles 4] [--learned 64] [--judged 8]

STAR's dialogs of a line in the order of time, in as many parts as there are cycles and one more.
In cycle k a LoRA learns from replies of parts 1 to k, and dialogs of part k that it does not learn
from judge it, through `switchboard train`'s own pipeline with promotion. The truth is asked of part
k + 1, which neither has seen: the candidate's edit similarity less that of what served, reply by
reply, with a 95 % interval that resamples conversations whole. Does each night help, and does the
gate agree?

The gate is the demo's: so few dialogs show no more than 0.35 of unsupported facts. Needs the same
as `make bench-real`. Writes ``benchmarks/results/real-cycles.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
import suggestions
from suggestions import PLAIN, ROOT, Bench, asked_for, evenly, say

from training.data.formats.star import StarDialog
from training.metrics.text import edit_similarity
from training.recipe.gate import GateConfig, NonInferiority
from training.stats import bootstrap

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
from environment import commit, environment, now
from results import write_json


def by_time(dialogs: Sequence[StarDialog], count: int) -> list[list[StarDialog]]:
    """Split dialogs into so many parts of equal size, oldest first."""
    ordered = sorted((d for d in dialogs if d.replies), key=lambda d: (d.began_at, d.id))
    cuts = [round(len(ordered) * n / count) for n in range(count + 1)]
    return [ordered[begin:end] for begin, end in pairwise(cuts)]


def agrees(accepted: bool, low: float, high: float) -> str:
    """Say how a gate's word stands to the truth's interval."""
    if low <= 0 <= high:
        return "the truth shows nothing"
    return "yes" if accepted == (low > 0) else "no"


async def live_through(
    bench: Bench, line: str, dialogs: Sequence[StarDialog], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return each cycle's figures."""
    render = suggestions.renderers(line)[PLAIN]
    rules = GateConfig(
        non_inferiority=(
            NonInferiority(metric="length_deviation", margin=0.1),
            NonInferiority(metric="unsupported_facts", margin=0.35),
        )
    )
    how = bench.recipe.model_copy(update={"gate": rules})
    parts = by_time(dialogs, options.cycles + 1)
    live, found = "base", []
    for number in range(options.cycles):
        judging = evenly(parts[number], options.judged)
        mine = {dialog.id for dialog in judging}
        past = [d for part in parts[: number + 1] for d in part if d.id not in mine]
        taught = evenly(asked_for(past, render), options.learned)
        began = time.perf_counter()
        outcome = await bench.train(line, taught, asked_for(judging, render), how, promote=True)
        rows = asked_for(evenly(parts[number + 1], options.asked), render)
        pair = [await bench.answers(model, rows) for model in (outcome.version, live)]
        new, old = (
            [
                edit_similarity(text.strip(), row.target)
                for text, row in zip(texts, rows, strict=True)
            ]
            for texts in pair
        )
        names = [row.conversation_id for row in rows]
        gap = bootstrap.paired(new, old, groups=names, seed=0)
        found.append(
            {
                "cycle": number + 1,
                "learned": len(taught),
                "judged": {"dialogs": len(judging), "replies": len(outcome.candidate.outputs)},
                "gate": outcome.decision.as_json(),
                "served": live,
                "candidate": outcome.version,
                "asked": {"dialogs": len(set(names)), "replies": len(rows)},
                "edit_similarity": {
                    "served": round(sum(old) / len(old), 4),
                    "candidate": round(sum(new) / len(new), 4),
                    "gain": [round(end, 4) for end in (gap.mean, gap.low, gap.high)],
                },
                "gate_agrees": agrees(outcome.decision.accepted, gap.low, gap.high),
                "seconds": round(time.perf_counter() - began, 1),
            }
        )
        say(f"cycle {number + 1}: {found[-1]}")
        if outcome.decision.accepted:
            live = outcome.version
    return found


async def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Start a server and live through the cycles."""
    dialogs = suggestions.dialogs_of(options.star, [options.line])[options.line]
    async with suggestions.started(options, folder, [options.line]) as bench:
        return await live_through(bench, options.line, dialogs, options)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--line", default="hotel")
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--learned", type=int, default=64, help="replies that a night learns from")
    parser.add_argument("--judged", type=int, default=8, help="dialogs that judge a night")
    parser.add_argument("--asked", type=int, default=6, help="dialogs that tell the truth of it")
    parser.add_argument("--star", type=Path, default=None, help="else in SWITCHBOARD_STAR_DIR")
    parser.add_argument("--results", type=Path, default=suggestions.RESULTS)
    options = parser.parse_args()
    options.star, options.quick = suggestions.star_file(options.star), True
    os.chdir(ROOT)
    began, at_commit = time.perf_counter(), commit()
    folder = Path(tempfile.mkdtemp(prefix="switchboard-real-"))
    try:
        cycles = asyncio.run(measure(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {
        "line": options.line,
        "cycles": cycles,
        "seconds": round(time.perf_counter() - began, 1),
        "environment": environment(),
        "commit": at_commit,
        "time": now(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "real-cycles.json", result)


if __name__ == "__main__":
    main()
