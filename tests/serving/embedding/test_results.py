"""Fewer dimensions are the first of them, of length 1 again."""

import numpy as np
import pytest

from serving.embedding.results import shortened


def test_shortened_embeddings_have_length_1() -> None:
    vectors = np.array([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], np.float32)
    found = shortened(vectors, 2)
    assert found[0].tolist() == pytest.approx([0.6, 0.8])
    assert found[1].tolist() == [0.0, 0.0], "and nothing is divided by 0"
