"""A text is weighed at serving as scikit-learn weighs it in training."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from serving.intents.features import CHARACTERS, terms, text_of, weighed

TEXTS = [
    "My parcel is late, my parcel is LATE.",
    "Where's my refund?",
    "The refund of the parcel",
    "Ich hätte gern Geld zurück",
]


def test_weights_are_those_of_scikit_learn() -> None:
    weigh = TfidfVectorizer(analyzer=terms, sublinear_tf=True)
    rows = weigh.fit_transform(TEXTS).toarray()
    vocabulary = {term: int(place) for term, place in weigh.vocabulary_.items()}
    for text, row in zip(TEXTS, rows, strict=True):
        places, values = weighed(terms(text), vocabulary, weigh.idf_.astype(np.float32))
        mine = np.zeros(len(vocabulary))
        mine[places] = values
        np.testing.assert_allclose(mine, row, atol=1e-6)


def test_unknown_words_weigh_nothing() -> None:
    places, values = weighed(["unheard"], {"known": 0}, np.ones(1, np.float32))
    assert (len(places), len(values)) == (0, 0)


def test_terms_are_words_and_pairs_without_digits() -> None:
    assert terms("Don\u2019t track 4471, PLEASE") == [
        "don't",
        "track",
        "please",
        "don't track",
        "track please",
    ]


@pytest.mark.parametrize("value", ["anna@example.com", "+1 202 555 0143"])
def test_personal_values_are_what_they_are(value: str) -> None:
    read = text_of(["Write to me:", value])
    assert value not in read
    assert "[" in read


def test_only_the_beginning_of_a_long_conversation_is_read() -> None:
    assert len(text_of(["word " * CHARACTERS])) == CHARACTERS
