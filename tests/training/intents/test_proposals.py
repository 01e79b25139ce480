"""A candidate has a name, a count, and texts that show it."""

import numpy as np
import pytest

from training.intents.proposals import proposals

TEXTS = [
    "refund my money",
    "money refund",
    "please refund money",
    "late parcel",
    "parcel late",
    "x",
]
COUNTS = [4, 1, 1, 2, 1, 1]
VECTORS = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1], [0.1, 0.9], [-1, 0]], float)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
LABELS = np.array([1, 1, 1, 0, 0, 2])


def test_groups_come_with_the_most_frequent_first() -> None:
    first, second = proposals(TEXTS, COUNTS, VECTORS, LABELS, least=2, examples=2)
    assert (first.count, second.count) == (6, 3)
    assert first.share == pytest.approx(0.6)
    assert set(first.words[:2]) == {"money", "refund"}
    assert set(second.name.split("_")) == {"late", "parcel"}
    assert first.description == "money refund", "the nearest to all conversations of the group"
    assert first.examples == ("money refund", "refund my money")
    assert 0.9 < first.cohesion <= 1


def test_a_group_of_too_few_conversations_is_none() -> None:
    assert len(proposals(TEXTS, COUNTS, VECTORS, LABELS, least=1)) == 3
    assert proposals(TEXTS, COUNTS, VECTORS, LABELS, least=7) == []


def test_names_are_unique_and_there_is_always_one() -> None:
    texts = ["money back", "back money", "12", "34"]
    found = proposals(texts, [1] * 4, np.eye(4), np.arange(4), least=1)
    assert [one.name for one in found] == ["back_money", "back_money_2", "other", "other_2"]


def test_words_of_one_s_own_name_a_group_before_words_of_all() -> None:
    texts = ["please refund", "please refund", "please track", "please track"]
    texts = [f"{text} {n}" for n, text in enumerate(texts)]
    found = proposals(texts, [1] * 4, np.eye(4), np.array([0, 0, 1, 1]), least=1)
    assert [one.words[0] for one in found] == ["refund", "track"]
