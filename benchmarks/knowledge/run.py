"""How often a passage that an agent needed is found by words alone: ``make bench-knowledge``.

    python benchmarks/knowledge/run.py [--star FILE] [--dialogs N]

STAR's agents looked things up; what came back is a passage, and the library is every different
one. The question is what a suggestion would ask by: the customer's last turns before the look-up.
Of each dialog its first look-up counts, so that the rates' exact intervals (Clopper and Pearson)
are of independent trials. Nothing was chosen by these figures: k1, b and the default of `min_score`
are what they were before. No embeddings are measured. Writes ``benchmarks/results/knowledge.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

from serving.config.lobs import Knowledge
from serving.gateway.grounding.retrieval import question
from serving.knowledge.index import Index
from serving.store.libraries.versions import Entry
from training.data.formats import star
from training.stats.proportions import clopper_pearson

RESULTS = Path(__file__).parents[1] / "results"
DEPTHS = (1, 3, 5)


@dataclass(frozen=True)
class LookUp:
    """A question, and what the agent who looked it up was told."""

    question: str
    told: str


def look_ups(dialogs: Sequence[star.StarDialog]) -> list[LookUp]:
    """Return the first look-up of each dialog that has one after a customer's turn."""
    found = []
    for dialog in dialogs:
        place = next((n for n, turn in enumerate(dialog.turns) if turn.role == "knowledge"), None)
        if place is None:
            continue
        asked = question(dialog.turns[:place])
        if asked.strip():
            found.append(LookUp(asked, dialog.turns[place].text))
    return found


def library(dialogs: Sequence[star.StarDialog]) -> list[Entry]:
    """Return every different text that a look-up of any dialog gave."""
    texts = dict.fromkeys(
        turn.text for dialog in dialogs for turn in dialog.turns if turn.role == "knowledge"
    )
    return [Entry(id=str(number), text=text) for number, text in enumerate(texts)]


def ranks(index: Index, asked: Sequence[LookUp], min_score: float) -> list[int | None]:
    """Return each told text's rank, from 1, among the first of its search; None: not there."""
    found = []
    for one in asked:
        texts = [
            entry.text
            for entry, _ in index.search(one.question, most=max(DEPTHS), min_score=min_score)
        ]
        found.append(texts.index(one.told) + 1 if one.told in texts else None)
    return found


def recalls(found: Sequence[int | None]) -> dict[str, dict[str, float]]:
    """Return the recall at each depth, with its exact interval."""
    rates = {}
    for depth in DEPTHS:
        hits = sum(rank is not None and rank <= depth for rank in found)
        its = clopper_pearson(hits, len(found))
        rates[f"recall@{depth}"] = {"value": its.mean, "low": its.low, "high": its.high}
    return rates


def measure(dialogs: Sequence[star.StarDialog]) -> dict[str, Any]:
    """Return everything that is measured."""
    entries, asked = library(dialogs), look_ups(dialogs)
    started = time.perf_counter()
    index = Index(entries)
    built_s = time.perf_counter() - started
    times = []
    for one in asked[:500]:
        started = time.perf_counter()
        index.search(one.question, most=max(DEPTHS))
        times.append((time.perf_counter() - started) * 1e3)
    default = Knowledge().min_score
    return {
        "passages": len(entries),
        "questions": len(asked),
        "build_s": round(built_s, 2),
        "search_ms": {
            "median": round(statistics.median(times), 3),
            "p99": round(statistics.quantiles(times, n=100)[98], 3),
        },
        "by_min_score": {
            str(least): recalls(ranks(index, asked, least)) for least in (0.0, default, 0.3)
        },
    }


def main() -> None:
    """Measure, print and write."""
    folder = os.environ.get("SWITCHBOARD_STAR_DIR")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--star", type=Path, default=folder and Path(folder) / "star.jsonl.gz")
    parser.add_argument("--dialogs", type=int, help="Only the first so many.")
    options = parser.parse_args()
    if options.star is None:
        sys.exit("Name STAR's file by --star, or its folder by SWITCHBOARD_STAR_DIR.")
    dialogs = list(star.read(options.star))[: options.dialogs]
    result = {"at": now(), "commit": commit(), "environment": environment(), "data": "STAR"}
    result |= measure(dialogs)
    print(json.dumps(result, indent=1))
    (RESULTS / "knowledge.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
