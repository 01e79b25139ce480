"""Texts become vectors of length 1 by the configured model, or by words."""

from pathlib import Path

import numpy as np
import pytest

from serving.config.settings import Settings
from tests.tiny_sentence_models import WIDTH, make_sentence_model
from training.intents.embedding import DIMENSIONS, by_words, embedded

TEXTS = ["refund my money", "money refund please", "where is the parcel"]


def test_texts_that_share_words_are_nearer() -> None:
    vectors = by_words(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_many_words_are_brought_to_fewer_dimensions() -> None:
    texts = [f"{'a' * (n % 40 + 1)} {'b' * (n % 37 + 1)} {'c' * (n % 31 + 1)}" for n in range(400)]
    assert by_words(texts).shape == (400, DIMENSIONS)


def test_texts_without_a_word_are_no_error() -> None:
    assert by_words(["1", "2"]).shape == (2, 1)


async def test_the_server_s_model_embeds(tmp_path: Path) -> None:
    model = str(make_sentence_model(tmp_path))
    settings = Settings.model_validate(
        {"model": "m", "lobs": {"care": {}}, "embeddings": {"model": model}}
    )
    vectors, by = await embedded(settings, TEXTS)
    assert (vectors.shape, by) == ((3, WIDTH), model)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_without_a_model_words_decide() -> None:
    vectors, by = await embedded(
        Settings.model_validate({"model": "m", "lobs": {"care": {}}}), TEXTS
    )
    assert by == "words"
    np.testing.assert_array_equal(vectors, by_words(TEXTS))


@pytest.mark.parametrize("count", [1, 2])
def test_few_texts_are_no_error(count: int) -> None:
    assert len(by_words(TEXTS[:count])) == count
