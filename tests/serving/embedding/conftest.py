"""Small models, made once."""

from pathlib import Path

import pytest

from tests import tiny_sentence_models


@pytest.fixture(scope="session")
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of sentence embeddings."""
    return tiny_sentence_models.make_sentence_model(tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random cross-encoder."""
    return tiny_sentence_models.make_cross_encoder(tmp_path_factory.mktemp("pairs"))
