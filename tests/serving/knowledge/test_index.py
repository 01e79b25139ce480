"""Entries are found by words and by meanings, and what is no answer is not found."""

import math

import numpy as np
import pytest

from serving.knowledge.index import Index
from serving.store.libraries.versions import Entry

ENTRIES = [
    Entry(id="refund", title="Refunds", text="Your money comes back within 14 days."),
    Entry(id="ship", title="Shipping", text="A parcel takes three days by post."),
    Entry(id="kettle", title="Kettles", text="Descale the kettle with vinegar.", tags=["limescale"]),
]


def ids(index: Index, query: str, **options: object) -> list[str]:
    return [entry.id for entry, _ in index.search(query, **({"most": 3} | options))]  # type: ignore[arg-type]


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


def test_the_score_is_the_share_of_the_question_by_weight() -> None:
    (one,) = Index(ENTRIES).search("kettle opera", most=3)
    known, unknown = math.log(1 + 2.5 / 1.5), math.log(1 + 3.5 / 0.5)
    assert 0 < one[1] <= known / (known + unknown) + 1e-4
    assert Index(ENTRIES).search("kettle opera", most=3, min_score=0.5) == []
    (whole,) = Index(ENTRIES).search("kettle vinegar", most=3)
    assert one[1] < whole[1] <= 1


def test_meanings_find_what_words_do_not_and_rank_with_them() -> None:
    index = Index(ENTRIES, np.array([[2, 0], [0, 3], [1, 1]], np.float32))
    found = index.search("cash", [1, 0], most=3, min_similarity=0.9)
    assert [(entry.id, score) for entry, score in found] == [("refund", 1.0)]
    both = index.search("parcel", [1, 0], most=3, min_similarity=0.5)
    assert {entry.id for entry, _ in both} == {"refund", "ship", "kettle"}
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
