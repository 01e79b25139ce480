"""What the benchmark of intents counts."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests import scripts

HEAD = "conversationId\tturnNumber\tutteranceId\tutterance\tslot-labels\tintent\n"


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return scripts.load("benchmarks/insights/run.py", "insights_run")


def test_each_conversation_s_first_request_of_one_intent_counts(
    run: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "airline").mkdir()
    turns = [
        ("a", "hi", "openinggreeting"),
        ("a", "book me a flight", "bookflight"),
        ("a", "and a seat", "changeseatassignment"),
        ("b", "a pass and a seat", "getboardingpass<div>changeseatassignment"),
        ("b", "a pass", "getboardingpass"),
        ("c", "no", "rejection"),
    ]
    rows = "".join(f"{c}\t1\tu\t{text}\tO\t{intent}\n" for c, text, intent in turns)
    (tmp_path / "airline" / "train.tsv").write_text(HEAD + rows + "d\tbroken\tline\n")
    (tmp_path / "airline" / "test.tsv").write_text(
        HEAD + "e\t1\tu\tfly me\tO\tbookflight\nf\t1\tu\ta meal\tO\tneverseen\n"
    )
    corpus = run.multidogo(tmp_path)
    assert [(one.text, one.intent) for one in corpus.train] == [
        ("book me a flight", "bookflight"),
        ("a pass", "getboardingpass"),
    ]
    assert [one.text for one in corpus.test] == ["fly me"]


def test_macro_f1_is_the_mean_over_intents_that_there_are(run: ModuleType) -> None:
    sums = run.counts(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"]).sum(axis=0)
    # a: precision 1/2, recall 1; b: precision 1, recall 1/2; there is no c.
    assert run.macro_f1(sums[None])[0] == pytest.approx(2 / 3)


def test_purity_counts_each_group_s_most_frequent_intent(run: ModuleType) -> None:
    found = run.purity(np.array([0, 0, 0, 1]), ["a", "a", "b", "b"])
    assert found.tolist() == [1, 1, 0, 1]


def test_a_draw_takes_as_many_of_each_intent_as_there_are(run: ModuleType) -> None:
    rows = [
        run.Row(f"{name} {n}", name) for name, most in (("a", 9), ("b", 2)) for n in range(most)
    ]
    names = [one.intent for one in run.drawn(rows, 3, seed=0)]
    assert names == ["a"] * 3 + ["b"] * 2
    assert run.drawn(rows, None, seed=0) == rows


def test_a_corpus_is_measured_by_number_of_examples(run: ModuleType, tmp_path: Path) -> None:
    for name, least in (("train.csv", 0), ("test.csv", 60)):
        lines = [
            f"please {word} number {'x' * (n % 3 + 1)},{intent}"
            for n in range(least, least + 12)
            for word, intent in (("refund money", "refund"), ("track parcel", "track"))
        ]
        (tmp_path / name).write_text("text,category\n" + "\n".join(lines) + "\n")
    measured = run.measure(run.banking(tmp_path), None)
    assert set(measured["classifier"]) == {"5", "10", "50", "all"}
    best = measured["classifier"]["all"]
    assert (best["learned"], best["accuracy"]["value"], best["macro_f1"]["value"]) == (24, 1, 1)
    assert measured["proposals"]["words"]["found"]["purity"]["value"] == 1
