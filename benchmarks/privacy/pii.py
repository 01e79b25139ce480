"""How well redaction recognises personal values: ``make bench-pii``.

    python benchmarks/privacy/pii.py [--presidio PYTHON] [--names PIPELINE]

Generated turns of a contact center (tests/serving/redaction/corpus.py), of a seed that no
test uses. A value is recalled when all its letters and digits are covered; what is marked is right
when it touches a value. Intervals are Clopper and Pearson's. With the Python of an environment that
has `benchmarks/privacy/requirements.txt`, Presidio's recognizers read the same turns. With a spaCy
pipeline (a package or a folder) turns with people's names are read (names.py), and the same turns
once more with names looked for. Writes ``benchmarks/results/pii.json``; what is not measured in a
run stays there as it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))
sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parent))
import names
from environment import commit, environment, now

from serving.redaction.person_names import Recogniser, load
from serving.redaction.recognition import locate
from serving.redaction.surrogates import VERSION, redact
from tests.serving.redaction.corpus import KIND, Turn, turns
from training.stats.proportions import clopper_pearson

RESULTS = Path(__file__).parents[1] / "results"
SEED = 31_337_001
Found = Sequence[tuple[int, int, str]]


def rate(successes: int, trials: int) -> dict[str, float | int]:
    """Return so many of so many with its exact interval, for the table."""
    interval = clopper_pearson(successes, trials)
    return {
        "rate": round(interval.mean, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "trials": trials,
    }


def score(corpus: Sequence[Turn], found: Sequence[Found]) -> dict[str, Any]:
    """Compare what was marked with where the values are.

    Args:
        corpus: Turns whose values are known.
        found: From, to and kind of what was marked in each.
    """
    values: Counter[str] = Counter()
    recalled: Counter[str] = Counter()
    named: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    clean, harmless = 0, 0
    for turn, spans in zip(corpus, found, strict=True):
        personal = {i for start, end, _ in turn.spans for i in range(start, end)}
        kind_at = {i: kind for start, end, kind in spans for i in range(start, end)}
        for start, end, slot in turn.spans:
            kind = KIND.get(slot, slot)
            written = [i for i in range(start, end) if turn.text[i].isalnum()]
            whole = all(i in kind_at for i in written)
            values[kind] += 1
            recalled[kind] += whole
            named[kind] += whole and kind_at[written[0]] == kind
        for start, end, kind in spans:
            marked[kind] += 1
            right[kind] += not personal.isdisjoint(range(start, end))
        if not turn.spans:
            harmless += 1
            clean += not spans
    return {
        "recall": rate(recalled.total(), values.total()),
        "precision": rate(right.total(), marked.total()) if marked else None,
        "harmless_turns_kept": rate(clean, harmless) if harmless else None,
        "recall_by_kind": {kind: rate(recalled[kind], n) for kind, n in sorted(values.items())},
        "precision_by_kind": {kind: rate(right[kind], n) for kind, n in sorted(marked.items())},
        "kind_named_right": {kind: rate(named[kind], n) for kind, n in sorted(values.items())},
    }


def ours(corpus: Sequence[Turn], recognise: Recogniser | None = None) -> list[Found]:
    """Return what redaction marks in each turn, alone; with names where something finds them."""
    found = []
    for turn in corpus:
        also = None if recognise is None else recognise([turn.text])
        kinds, places = locate([turn.text], also=also)
        found.append([(start, end, kinds[key].name.lower()) for start, end, key in places[0]])
    return found


def presidio(python: str, corpus: Sequence[Turn]) -> dict[str, Any]:
    """Return how Presidio's recognizers do; its URLs are part of addresses and do not count."""
    done = subprocess.run(
        [python, "-W", "ignore", str(Path(__file__).with_name("presidio.py"))],
        input=json.dumps([turn.text for turn in corpus]),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    said = json.loads(done.stdout)
    spans = [[tuple(s) for s in turn if s[2] != "URL"] for turn in said["spans"]]
    undated = [[s for s in turn if s[2] != "DATE_TIME"] for turn in spans]
    lines = {}
    for name, found in (("all_entities", spans), ("without_dates", undated)):
        line = score(corpus, found)
        del line["kind_named_right"]
        lines[name] = line
    lines["beside_ours"] = beside(corpus, ours(corpus), undated)
    return lines | {"megabytes_per_s": throughput(corpus, said["seconds"])}


def beside(corpus: Sequence[Turn], own: Sequence[Found], more: Sequence[Found]) -> dict[str, Any]:
    """Return what others' marks add to ours: values that we miss, and marks where we have none.

    Args:
        corpus: Turns whose values are known.
        own: Our marks in each.
        more: Theirs.
    """
    added: list[Found] = []
    for mine, theirs in zip(own, more, strict=True):
        taken = {i for start, end, _ in mine for i in range(start, end)}
        added.append([span for span in theirs if taken.isdisjoint(range(*span[:2]))])
    both = [[*mine, *others] for mine, others in zip(own, added, strict=True)]
    joint, alone = score(corpus, both), score(corpus, own)
    return {
        "recall": joint["recall"],
        "recall_of_ours_alone": alone["recall"],
        "precision": joint["precision"],
        "marks_added": sum(map(len, added)),
        "precision_of_what_is_added": score(corpus, added)["precision"],
        "harmless_turns_kept": joint["harmless_turns_kept"],
    }


def people(pipeline: str, corpus: Sequence[Turn], personal: int, harmless: int) -> dict[str, Any]:
    """Return how a spaCy pipeline finds names, and what looking for them does to other turns."""
    recognise = load(pipeline)
    named = names.names(SEED, personal, harmless)
    began = time.perf_counter()
    marks = [[(s.start, s.end, "name") for s in recognise([turn.text])[0]] for turn in named]
    seconds = time.perf_counter() - began
    found = score(named, marks)
    capital, lower = names.split(named)
    of = {id(turn): spans for turn, spans in zip(named, marks, strict=True)}
    for name, some in (("with_capitals", capital), ("lower_case", lower)):
        found[f"recall_{name}"] = score(some, [of[id(turn)] for turn in some])["recall"]
    for name in ("recall_by_kind", "precision_by_kind", "kind_named_right"):
        del found[name]
    other = score(corpus, ours(corpus, recognise))
    return {
        "pipeline": described(pipeline),
        "turns": {"personal": personal, "harmless": harmless},
        **found,
        "megabytes_per_s": throughput(named, seconds),
        "on_the_turns_above": {
            name: other[name] for name in ("recall", "precision", "harmless_turns_kept")
        },
    }


def described(pipeline: str) -> str:
    """Return a pipeline's own name and version."""
    import spacy

    meta = spacy.load(pipeline).meta
    return f"{meta['lang']}_{meta['name']} {meta['version']}, spaCy {spacy.__version__}"


def throughput(corpus: Sequence[Turn], seconds: float) -> float:
    """Return megabytes of text a second."""
    return round(sum(len(turn.text.encode()) for turn in corpus) / 1e6 / seconds, 3)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--personal", type=int, default=6000, help="turns with values")
    parser.add_argument("--harmless", type=int, default=4000, help="turns without")
    parser.add_argument("--presidio", default="", help="a Python that has Presidio")
    parser.add_argument("--names", default="", help="a spaCy pipeline: a package or a folder")
    parser.add_argument("--named", type=int, default=4000, help="turns with people's names")
    options = parser.parse_args()
    corpus = turns(SEED, options.personal, options.harmless)
    measured = score(corpus, ours(corpus))
    began = time.perf_counter()
    for turn in corpus:
        redact([turn.text])
    result = {
        "corpus": {"seed": SEED, "personal": options.personal, "harmless": options.harmless},
        "switchboard": measured
        | {
            "version": VERSION,
            "megabytes_per_s": throughput(corpus, time.perf_counter() - began),
        },
    }
    if options.presidio:
        result["presidio"] = presidio(options.presidio, corpus)
    if options.names:
        result["names"] = people(options.names, corpus, options.named, options.harmless)
    for name in ("switchboard", "names", "presidio"):
        if name in result:
            print(name, json.dumps(result[name], indent=1), flush=True)
    result |= {"environment": environment(), "commit": commit(), "time": now()}
    RESULTS.mkdir(exist_ok=True)
    if (RESULTS / "pii.json").exists():
        before = json.loads((RESULTS / "pii.json").read_text())
        result |= {k: before[k] for k in ("presidio", "names") if k in before and k not in result}
    (RESULTS / "pii.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
