"""The guard of claims against people's judgment of summaries: DialSummEval (Gao and Wan, 2022).

1,400 summaries, by 13 models and by hand, of 100 dialogs of SAMSum; three annotators gave each 1 to
5 for consistency with its dialog. A summary is consistent where their median is 4 or 5. The rules
were not written for such chats and nothing was changed after looking: no half is kept for that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from serving.guards.claims.check import compare
from serving.guards.claims.evidence import Evidence
from serving.guards.verdict import GuardContext
from training.stats.bootstrap import statistic
from training.stats.proportions import clopper_pearson

FILE = Path("annotation_campus") / "human_judgment.jsonl"


@dataclass(frozen=True)
class Judged:
    """A summary, its dialog's turns, and the median of what people gave it for consistency."""

    dialog: str
    model: str
    text: str
    turns: tuple[str, ...]
    consistency: float


def read(folder: Path) -> list[Judged]:
    """Return the summaries of DialSummEval's repository."""
    found = []
    with (folder / FILE).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            turns = tuple(t.strip() for t in row["dialogue"].split("|") if t.strip())
            given = median(one["consistency"] for one in row["annotations"])
            found.append(Judged(row["id"], row["model_id"], row["summary"], turns, given))
    return found


def measure(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return how well findings tell consistent summaries from others, all and clear cases alone."""
    flagged = [(one, _kinds(one)) for one in judged]
    clear = [(one, kinds) for one, kinds in flagged if one.consistency <= 2 or one.consistency == 5]
    return {
        "dialogs": len({one.dialog for one in judged}),
        "all": _rates(flagged, lambda one: one.consistency >= 4),
        "clear": _rates(clear, lambda one: one.consistency == 5),
    }


def _kinds(one: Judged) -> set[str]:
    talk = tuple(("agent", turn) for turn in one.turns)  # who speaks is named in the turn
    found = compare(one.text, Evidence.of(GuardContext(task="summary", conversation=talk)))
    return {finding.kind for finding in found}


def _rates(
    flagged: Iterable[tuple[Judged, set[str]]], consistent: Callable[[Judged], bool]
) -> dict[str, Any]:
    sums: dict[str, list[int]] = {}
    true, false = Counter[str](), Counter[str]()
    for one, kinds in flagged:
        row = sums.setdefault(one.dialog, [0, 0, 0, 0])
        good = consistent(one)
        place = 0 if good else 2
        row[place] += (not kinds) if good else bool(kinds)
        row[place + 1] += 1
        (false if good else true).update(kinds)
    passed, of_good, caught, of_bad = (sum(row[n] for row in sums.values()) for n in range(4))
    balanced = statistic(
        list(sums.values()),
        lambda s: (s[:, 0] / np.maximum(s[:, 1], 1) + s[:, 2] / np.maximum(s[:, 3], 1)) / 2,
        resamples=2000,
    )
    return {
        "inconsistent_flagged": _exact(caught, of_bad),
        "consistent_flagged": _exact(of_good - passed, of_good),
        "balanced_accuracy": {
            "value": round(balanced.mean, 4),
            "low": round(balanced.low, 4),
            "high": round(balanced.high, 4),
        },
        "kinds_of_inconsistent": dict(sorted(true.items())),
        "kinds_of_consistent": dict(sorted(false.items())),
    }


def _exact(successes: int, trials: int) -> dict[str, float | int]:
    found = clopper_pearson(successes, trials)
    numbers = {"rate": found.mean, "low": found.low, "high": found.high}
    return {key: round(value, 4) for key, value in numbers.items()} | {"trials": trials}
