"""Two candidates that say the same are one; those that say opposite things never are."""

import pytest

from serving.gateway.suggesting.distinct import by_words, distinct, similarity, words

ALIKE = by_words(0.8)


def test_words_have_one_spelling() -> None:
    assert words("I can\u2019t, WON'T; it's 3.50!") == [
        *("i", "can", "not", "will", "not", "it", "s", "3.50")
    ]


def test_similarity_is_the_share_of_words_in_common() -> None:
    assert similarity("a b c d", "a b c x") == 0.75
    assert similarity("", "!") == 1.0
    assert similarity("a", "") == 0.0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("I'm sorry for the delay.", "I am sorry for the delay!", True),
        ("I am so sorry for the delay", "I am sorry for the delay", True),
        ("I am sorry for the delay", "Which order is it about?", False),
        ("We can refund your order today", "We cannot refund your order today", False),
        ("It costs 20 dollars a month for you", "It costs 30 dollars a month for you", False),
        ("You will never be charged for this", "You will be charged for this", False),
    ],
)
def test_alike_is_what_differs_in_little_and_in_nothing_that_matters(
    first: str, second: str, same: bool
) -> None:
    assert ALIKE(first, second) is same
    assert ALIKE(second, first) is same


def test_the_best_of_what_says_the_same_is_kept() -> None:
    texts = ["I am sorry.", "Which order?", "I'm sorry!", "Which order", "How can I help?"]
    assert distinct(texts, 5, ALIKE) == [0, 1, 4]
    assert distinct(texts, 2, ALIKE) == [0, 1]
    assert distinct([], 2, ALIKE) == []


def test_another_measure_of_meaning_may_decide() -> None:
    assert distinct(["a", "b", "c"], 3, lambda one, other: {one, other} == {"a", "c"}) == [0, 1]
