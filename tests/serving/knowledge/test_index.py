"""Entries are found by words and by meanings, and what is no answer is not found."""

import math
from typing import Any

import numpy as np
import pytest

from serving.knowledge.index import Index, indexed, singular, words
from serving.store.libraries.versions import Entry

ENTRIES = [
    Entry(id="refund", title="Refunds", text="Your money comes back within 14 days."),
    Entry(id="ship", title="Shipping", text="A parcel takes three days by post."),
    Entry(id="kettle", title="Kettles", text="Descale kettles with vinegar.", tags=["limescale"]),
]


def ids(index: Index, query: str, **options: object) -> list[str]:
    asked: dict[str, Any] = {"most": 3} | options
    return [hit.entry.id for hit in index.search(query, **asked)]


def test_an_entry_is_found_by_its_title_text_and_tags() -> None:
    index = Index(ENTRIES)
    assert ids(index, "How do I get refunds?") == ["refund"]
    assert ids(index, "where is my PARCEL") == ["ship"]
    assert ids(index, "there is limescale") == ["kettle"]
    assert ids(index, "days", most=1) in (["refund"], ["ship"])


def test_a_question_about_something_else_finds_nothing() -> None:
    index = Index(ENTRIES)
    assert ids(index, "opera tickets") == []
    assert ids(index, "the of and") == []
    assert ids(index, "") == []


def test_a_rare_word_scores_more_than_a_common_one_and_at_most_1() -> None:
    index = Index([*ENTRIES, *(Entry(id=f"n{n}", text="A common word.") for n in range(20))])
    (rare,) = (hit.score for hit in index.search("vinegar", most=1))
    (common,) = (hit.score for hit in index.search("common", most=1))
    assert 0 < common < 0.1 < rare <= 1
    (longer,) = index.search("Hello there, I would like some vinegar please", most=1)
    assert longer.score == rare, "words that no entry has change nothing"
    assert index.search("common", most=3, min_score=0.1) == []
    # Robertson and Zaragoza's form, with lengths in words.
    lengths = [len(words([indexed(entry)])[0]) for entry in index.entries]
    norm = 1.5 * (1 - 0.75 + 0.75 * lengths[2] / (sum(lengths) / len(lengths)))
    idf, rarest = math.log(1 + 22.5 / 1.5), math.log(1 + 23.5 / 0.5)
    assert rare == pytest.approx(idf / (1 + norm) / rarest, abs=1e-3)


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("refunds", "refund"),
        ("queries", "query"),
        ("houses", "house"),
        ("bonus", "bonus"),
        ("press", "press"),
        ("shoes", "shoe"),
    ],
)
def test_plurals_are_as_their_singulars(word: str, stem: str) -> None:
    assert singular(word) == stem


def test_meanings_find_what_words_do_not_and_rank_with_them() -> None:
    index = Index(ENTRIES, np.array([[2, 0], [0, 3], [1, 1]], np.float32))
    found = index.search("cash", [1, 0], most=3, min_similarity=0.9)
    assert [(hit.entry.id, hit.score) for hit in found] == [("refund", 1.0)]
    both = index.search("parcel", [1, 0], most=3, min_similarity=0.5)
    by = {hit.entry.id: (hit.words > 0, hit.meaning) for hit in both}
    assert by == {
        "refund": (False, 1.0),
        "ship": (True, None),
        "kettle": (False, pytest.approx(0.7071)),
    }
    assert ids(index, "parcel", vector=[0, 1])[0] == "ship"


def test_somebody_s_own_entry_is_for_them_alone() -> None:
    own = Entry(id="own", title="Refunds", text="Money, as Kim says it.", agent="kim")
    index = Index([*ENTRIES, own], np.eye(4, dtype=np.float32))
    assert "own" not in ids(index, "refunds", most=4)
    assert "own" not in ids(index, "refunds", vector=[0, 0, 0, 1], most=4, agent="lee")
    assert "own" in ids(index, "refunds", most=4, agent="kim")
    assert "refund" in ids(index, "refunds", most=4, agent="kim")


@pytest.mark.parametrize("text", ["?", "the"])
def test_a_library_without_a_word_finds_nothing(text: str) -> None:
    assert ids(Index([Entry(id="a", text=text)]), "anything") == []
