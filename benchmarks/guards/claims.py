"""How well the guard of claims tells true replies from false ones: ``make bench-claims``.

    python benchmarks/guards/claims.py [--star FILE] [--abcd FOLDER] [--dialogs 300] [--drill 10000]
        [--dialsummeval FOLDER]

Real agents' replies (STAR, ABCD's sample), each untouched and with one seeded fault of each kind
(`faults.py`). The guard was developed on the dialogs whose hash is even; measured are the others. A
fault is caught when a finding touches it; an untouched reply with any finding is a false flag, also
where the reply says what its record lacks. `--dialsummeval` names a copy of the repository of that
name: summaries with people's marks (`summaries.py`). Recall has Clopper and Pearson's exact
intervals, balanced accuracy the bootstrap's over whole dialogs. Writes
``benchmarks/results/claims.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
import summaries
from drill import drill
from environment import commit, environment, now
from faults import KINDS, make

from serving.guards.claims.check import compare
from serving.guards.claims.evidence import Evidence
from serving.guards.verdict import GuardContext
from training.data.formats import star
from training.stats.bootstrap import statistic
from training.stats.proportions import clopper_pearson

RESULTS = Path(__file__).parents[1] / "results"
SEED = 31_337_002


@dataclass(frozen=True)
class Said:
    """A real reply, and what its agent had seen: (role, text) each."""

    dialog: str
    text: str
    before: tuple[tuple[str, str], ...]


@dataclass
class Count:
    """Faults of a kind: made, and caught."""

    made: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)


def held_out(dialog: str) -> bool:
    """Say whether a dialog is measured; the guard was developed on the others."""
    return hashlib.sha256(f"claims/{dialog}".encode()).digest()[0] % 2 == 1


def star_replies(file: Path) -> list[Said]:
    """Return the held-out replies of STAR that have a conversation before them."""
    return [
        Said(f"star-{one.id}", r.text, tuple((t.role, t.text) for t in one.turns[: r.turn]))
        for one in star.read(file)
        if held_out(str(one.id))
        for r in one.replies
        if r.turn and r.text.strip()
    ]


def abcd_replies(folder: Path) -> list[Said]:
    """Return the replies of ABCD's sample, all three dialogs of it: not held out.

    What the agent's screen shows of the customer and the order is knowledge, as are its actions.
    """
    found = []
    for row in json.loads((folder / "abcd_sample.json").read_text()):
        screen = ("knowledge", json.dumps(row["scenario"]))
        before: list[tuple[str, str]] = [screen]
        for who, text in row["original"]:
            role = "knowledge" if who == "action" else who
            if role == "agent" and len(before) > 1:
                found.append(Said(f"abcd-{row['convo_id']}", text, tuple(before)))
            before.append((role, text))
    return found


def sampled(said: Sequence[Said], dialogs: int) -> list[Said]:
    """Return the replies of so many dialogs, drawn by the seed."""
    names = sorted({one.dialog for one in said})
    drawn = set(random.Random(SEED).sample(names, min(dialogs, len(names))))
    return [one for one in said if one.dialog in drawn]


def measure(said: Sequence[Said]) -> dict[str, Any]:
    """Return recall by kind, false flags and balanced accuracy of some replies."""
    counts = {kind: Count() for kind in KINDS}
    flagged: Counter[str] = Counter()
    flags = 0
    sums: dict[str, list[int]] = {}
    seconds = 0.0
    for number, one in enumerate(said):
        rng = random.Random(f"{SEED}/{number}")
        began = time.process_time()
        evidence = Evidence.of(GuardContext(conversation=one.before))
        untouched = compare(one.text, evidence)
        seconds += time.process_time() - began
        flags += bool(untouched)
        flagged.update({finding.kind for finding in untouched})
        row = sums.setdefault(one.dialog, [0, 0, 0, 0])
        row[0] += not untouched
        row[1] += 1
        seen = " ".join(text for _, text in one.before)
        for kind in KINDS:
            for how in ("changed", "inserted"):
                fault = make(rng, kind, how, one.text, seen)
                if fault is None:
                    continue
                low, high = fault.span
                caught = any(
                    f.span[0] < high and low < f.span[1] for f in compare(fault.text, evidence)
                )
                counts[kind].made[how] += 1
                counts[kind].caught[how] += caught
                row[2] += caught
                row[3] += 1
    balanced = statistic(
        list(sums.values()),
        lambda s: (s[:, 0] / np.maximum(s[:, 1], 1) + s[:, 2] / np.maximum(s[:, 3], 1)) / 2,
        resamples=2000,
    )
    return {
        "dialogs": len(sums),
        "replies": len(said),
        "recall": {
            kind: {how: rate(count.caught[how], n) for how, n in sorted(count.made.items())}
            for kind, count in counts.items()
        },
        "false_flags_a_reply": rate(flags, len(said)),
        "false_flags_by_kind": {kind: flagged[kind] for kind in KINDS},
        "balanced_accuracy": {
            "value": round(balanced.mean, 4),
            "low": round(balanced.low, 4),
            "high": round(balanced.high, 4),
        },
        "cpu_us_a_reply": round(seconds / len(said) * 1e6),
    }


def rate(successes: int, trials: int) -> dict[str, float | int]:
    """Return so many of so many with its exact interval, for the table."""
    found = clopper_pearson(successes, trials)
    numbers = {"rate": found.mean, "low": found.low, "high": found.high}
    return {key: round(value, 4) for key, value in numbers.items()} | {"trials": trials}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("SWITCHBOARD_STAR_DIR", "")
    parser.add_argument("--star", type=Path, default=Path(folder) / "star.jsonl.gz")
    parser.add_argument("--abcd", type=Path, default=os.environ.get("SWITCHBOARD_ABCD_DIR"))
    parser.add_argument("--dialogs", type=int, default=300, help="of STAR's held-out half")
    parser.add_argument("--drill", type=int, default=10_000, help="unsafe outputs")
    parser.add_argument("--dialsummeval", type=Path, help="its repository's folder")
    options = parser.parse_args()
    if not options.star.is_file():
        parser.error("STAR is needed: set SWITCHBOARD_STAR_DIR or give --star")
    result: dict[str, Any] = {"seed": SEED}
    replies = sampled(star_replies(options.star), options.dialogs)
    result["star"] = measure(replies)
    if options.abcd:
        result["abcd_sample"] = measure(abcd_replies(options.abcd))
    else:
        result["abcd_sample"] = {"skipped": "SWITCHBOARD_ABCD_DIR names no folder"}
    result["dialsummeval"] = (
        summaries.measure(summaries.read(options.dialsummeval))
        if options.dialsummeval
        else {"skipped": "--dialsummeval names no folder"}
    )
    result["drill"] = drill([(s.text, s.before) for s in replies], options.drill, SEED)
    print(json.dumps(result, indent=1), flush=True)
    result |= {"environment": environment(), "commit": commit(), "time": now()}
    (RESULTS / "claims.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
