"""Embeddings of a library's entries."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from serving.knowledge.index import Vectors, indexed
from serving.store.libraries.versions import Entry

AT_ONCE = 64


class Embedder(Protocol):
    """What makes embeddings of passages and of questions."""

    @property
    def key(self) -> str:
        """What its embeddings are stored under: another for another model."""

    async def passages(self, texts: Sequence[str]) -> Vectors:
        """Return the (n, d) embeddings of n passages.

        Raises:
            SwitchboardError: There is no answer.
        """

    async def question(self, text: str) -> Vectors:
        """Return the (d,) embedding of a question.

        Raises:
            SwitchboardError: There is no answer.
        """


async def passages(embedder: Embedder, entries: Sequence[Entry]) -> Vectors:
    """Return the (n, d) embeddings of n entries, by the text by which they are found.

    Args:
        embedder: What is asked, for some at a time, so that questions get their turn.
        entries: n of them, at least one.

    Raises:
        SwitchboardError: There is no answer.
    """
    texts = [indexed(entry) for entry in entries]
    parts = [
        await embedder.passages(texts[start : start + AT_ONCE])
        for start in range(0, len(texts), AT_ONCE)
    ]
    return np.concatenate(parts)
