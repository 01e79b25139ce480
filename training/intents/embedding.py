"""Texts as vectors: by the server's embedding model, or by their words where it has none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.config.lobs import Search
from serving.config.settings import Settings
from serving.intents.features import terms
from serving.libraries import embedding

AT_ONCE = 64
DIMENSIONS = 100
"""Of the space that words are brought to."""

Vectors = npt.NDArray[np.float64]


async def embedded(settings: Settings, texts: Sequence[str]) -> tuple[Vectors, str]:
    """Return (n, d) vectors of length 1 of n texts, and what made them.

    Args:
        settings: The server's configuration, whose `embeddings` decide.
        texts: n of them, without personal values: they may go to an upstream.

    Raises:
        SwitchboardError: The model is not there, or does not answer.
    """
    section = settings.embeddings
    if section is None:
        return by_words(texts), "words"
    async with embedding.opened(settings, Search(embeddings=section.upstream)) as models:
        source = models.own if section.upstream is None else models.embedder(section.upstream)
        if source is None:
            return by_words(texts), "words"
        parts = [
            await source.passages(texts[start : start + AT_ONCE])
            for start in range(0, len(texts), AT_ONCE)
        ]
    return _unit(np.concatenate(parts)), section.upstream or section.model or ""


def by_words(texts: Sequence[str]) -> Vectors:
    """Return (n, d) vectors of n texts by latent semantic analysis of their TF-IDF.

    Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41, 1990.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigh = TfidfVectorizer(analyzer=terms, sublinear_tf=True, min_df=2 if len(texts) > 20 else 1)
    try:
        weighed = weigh.fit_transform(texts)
    except ValueError:  # no word at all
        return np.zeros((len(texts), 1))
    most = min(weighed.shape) - 1
    if most <= DIMENSIONS:
        return _unit(weighed.toarray())
    return _unit(TruncatedSVD(DIMENSIONS, random_state=0).fit_transform(weighed))


def _unit(vectors: Any) -> Vectors:
    found = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Vectors = found / np.where(lengths == 0, 1.0, lengths)
    return unit
