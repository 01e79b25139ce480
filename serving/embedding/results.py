"""What models of embeddings and of ranks answer."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Embedded(NamedTuple):
    """Embeddings.

    Args:
        vectors: (n, d), each of length 1 where the model runs here.
        tokens: How many tokens were read.
    """

    vectors: Vectors
    tokens: int


class Ranked(NamedTuple):
    """Scores of documents.

    Args:
        scores: n of them, in the order of the documents; more is nearer to the query.
        tokens: How many tokens were read.
    """

    scores: list[float]
    tokens: int


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """Return the first numbers of embeddings, of length 1 again.

    Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.

    Args:
        vectors: (n, d).
        dimensions: At most d.

    Returns:
        (n, dimensions).
    """
    first = vectors[:, :dimensions]
    lengths = np.linalg.norm(first, axis=1, keepdims=True)
    unit: Vectors = first / np.where(lengths == 0, np.float32(1), lengths)
    return unit
