"""The index of a version in memory: words by BM25, meanings by embeddings where there are any."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.knowledge.fusion import fused
from serving.store.libraries.versions import Entry

CANDIDATES = 50
"""Of each ranking, what is fused."""
Vectors = npt.NDArray[np.float32]


class Hit(NamedTuple):
    """An entry that was found.

    Args:
        entry: The entry.
        score: Its score by words, or the cosine where that is more.
        words: Its score by words; 0 where it was not found by them.
        meaning: The cosine of its embedding; None where it was not found by it.
    """

    entry: Entry
    score: float
    words: float
    meaning: float | None


class Index:
    """The index of a version's entries; making one and asking it block, so both are for threads.

    BM25 is Lucene's form (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009,
    with k1 1.5 and b 0.75), by bm25s. There a word adds at most its inverse document frequency
    to a score. Scores are divided by that of a word that no entry has, so that they mean the
    same in small libraries and large ones, however long the question is: a common word adds little,
    the rarest at most 1.

    Args:
        entries: n of them.
        vectors: (n, d) embeddings of the entries, if there are.
    """

    def __init__(self, entries: Sequence[Entry], vectors: Vectors | None = None) -> None:
        import bm25s

        self.entries = entries
        self._vectors = None if vectors is None else _unit(vectors)
        self._agents = np.array([entry.agent or "" for entry in entries])
        self._open = self._agents == ""
        self._bm25: Any = None
        said = words([indexed(entry) for entry in entries])
        self._known = {word for text in said for word in text}
        self._rarest = np.float32(math.log(1 + (len(entries) + 0.5) / 0.5))
        if self._known:
            self._bm25 = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
            self._bm25.index(said, show_progress=False)

    def search(
        self,
        query: str,
        vector: Sequence[float] | Vectors | None = None,
        *,
        most: int,
        min_score: float = 0.0,
        min_similarity: float = 0.0,
        agent: str = "",
    ) -> list[Hit]:
        """Find entries.

        Args:
            query: In words.
            vector: (d,) its embedding.
            most: How many at most.
            min_score: The least score for a find by words.
            min_similarity: The least cosine for a find by meaning.
            agent: Whose own entries may be found beside everybody's.

        Returns:
            Entries from the best on.
        """
        theirs = self._open | (self._agents == agent)
        scores = np.where(theirs, self._scores(query), 0)
        rankings = [_best(scores, min_score)]
        cosines = None
        if vector is not None and self._vectors is not None:
            cosines = self._vectors @ _unit(np.asarray([vector], np.float32))[0]
            cosines = np.where(theirs, cosines, 0)
            rankings.append(_best(cosines, min_similarity))
        by_words, by_meaning = ({*ranking} for ranking in [*rankings, []][:2])
        found = []
        for n in fused(rankings)[:most]:
            said = round(float(scores[n]), 4) if n in by_words else 0.0
            meant = None
            if cosines is not None and n in by_meaning:
                meant = round(float(cosines[n]), 4)
            score = said if meant is None else max(said, meant)
            found.append(Hit(self.entries[n], score, said, meant))
        return found

    def _scores(self, query: str) -> Vectors:
        (asked,) = words([query])
        known = [word for word in dict.fromkeys(asked) if word in self._known]
        if not known:
            return np.zeros(len(self.entries), np.float32)
        scores: Vectors = self._bm25.get_scores(known)
        return scores / self._rarest


def indexed(entry: Entry) -> str:
    """Return the text by which an entry is found."""
    return "\n".join([entry.title, *entry.tags, entry.text])


def words(texts: Sequence[str]) -> list[list[str]]:
    """Split texts into their words, in small letters and the singular, without the commonest."""
    import bm25s

    found: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="en", return_ids=False, show_progress=False
    )
    return [[singular(word) for word in text] for text in found]


def singular(word: str) -> str:
    """Return an English word without the ending of a plural.

    The S-stemmer of Harman, "How effective is suffixing?", JASIS 42 (1991).
    """
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return f"{word[:-3]}y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def _best(scores: Vectors, least: float) -> list[int]:
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    return [int(n) for n in order if scores[n] > 0 and scores[n] >= least]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.where(lengths == 0, np.float32(1), lengths)
    return unit
