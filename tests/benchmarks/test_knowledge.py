"""What the benchmark of knowledge counts."""

from pathlib import Path
from types import ModuleType

import pytest

from serving.config.prompts import Turn
from tests import scripts
from tests.tiny_sentence_models import make_sentence_model
from training.data.formats.star import StarDialog


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return scripts.load("benchmarks/knowledge/run.py", "knowledge_run")


def dialog(number: int, *turns: tuple[str, str]) -> StarDialog:
    made = tuple(Turn(role, text) for role, text in turns)  # type: ignore[arg-type]
    return StarDialog(id=number, domains=frozenset(), agent="a", turns=made, replies=())


DIALOGS = [
    dialog(
        1,
        ("customer", "Is the hotel by the harbour free?"),
        ("knowledge", "Harbour hotel: free"),
        ("customer", "And the castle?"),
        ("knowledge", "Castle hotel: full"),
    ),
    dialog(2, ("knowledge", "Castle hotel: full")),
    dialog(3, ("customer", "What about the castle?"), ("knowledge", "Castle hotel: full")),
    dialog(4, ("customer", "Opera tickets?"), ("knowledge", "Harbour hotel: free")),
    dialog(5, ("customer", "Hello")),
]


def test_each_dialog_s_first_look_up_after_a_customer_counts_once(run: ModuleType) -> None:
    assert [one.told for one in run.look_ups(DIALOGS)] == [
        "Harbour hotel: free",
        "Castle hotel: full",
        "Harbour hotel: free",
    ]
    assert [entry.text for entry in run.library(DIALOGS)] == [
        "Harbour hotel: free",
        "Castle hotel: full",
    ]


def test_recall_is_of_all_questions_and_has_an_exact_interval(run: ModuleType) -> None:
    measured = run.measure(DIALOGS, None)
    assert (measured["passages"], measured["questions"]) == (2, 3)
    rate = measured["by_min_score"]["0.0"]["recall@1"]
    assert rate["value"] == pytest.approx(2 / 3)
    assert rate["low"] == pytest.approx(0.0943, abs=1e-3)
    assert rate["high"] == pytest.approx(0.9916, abs=1e-3)


def test_a_passage_that_is_not_among_the_first_has_no_rank(run: ModuleType) -> None:
    assert run.recalls([1, 2, 4, None])["recall@1"]["value"] == 0.25
    assert run.recalls([1, 2, 4, None])["recall@3"]["value"] == 0.5
    assert run.recalls([1, 2, 4, None])["recall@5"]["value"] == 0.75


def test_meanings_are_measured_alone_and_with_words(run: ModuleType, tmp_path: Path) -> None:
    measured = run.measure(DIALOGS, str(make_sentence_model(tmp_path)))
    assert set(measured["by"]) == {"words", "embeddings", "hybrid", "hybrid_with_defaults"}
    assert measured["by"]["words"] == measured["by_min_score"]["0.0"]
    assert measured["by"]["embeddings"]["recall@3"]["value"] == 1, "there are only two passages"
    told = [one["recall@5"]["value"] for one in measured["by"].values()]
    assert told[2] == 1


def test_two_ways_are_compared_where_they_differ(run: ModuleType) -> None:
    found = run.difference([1, 1, 1, None, 4], [None, 2, 5, None, 1], 3)
    assert found == {"only_first": 2, "only_second": 1, "p": 1.0}
