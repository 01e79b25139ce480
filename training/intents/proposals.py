"""Candidates for a line's list of intents, from groups of texts. Pure functions."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.intents.features import terms
from training.intents.clusters import Labels
from training.intents.embedding import Vectors

WORDS = 5
_NAME_WORDS = 3
_NAME_CHARACTERS = 64


@dataclass(frozen=True)
class Proposal:
    """A candidate.

    Args:
        name: Its most typical words, as a name in the list; unique among the proposals.
        description: The text that is nearest to all of its others: its medoid.
        words: Its typical words, the most typical first.
        count: Conversations of it.
        share: Of all conversations.
        examples: Different texts of it, the nearest to its middle first.
        cohesion: Mean cosine of its texts with its medoid.
    """

    name: str
    description: str
    words: tuple[str, ...]
    count: int
    share: float
    examples: tuple[str, ...]
    cohesion: float


def proposals(
    texts: Sequence[str],
    counts: Sequence[int],
    vectors: Vectors,
    labels: Labels,
    *,
    least: int,
    examples: int = 3,
) -> list[Proposal]:
    """Return the candidates, the most frequent first.

    Args:
        texts: n different texts.
        counts: (n,) conversations of each.
        vectors: (n, d), each of length 1.
        labels: (n,) the group of each.
        least: Conversations that a group needs to be one.
        examples: Texts that show a group, at most.
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    weights = np.asarray(counts)
    kept = [group for group in groups if weights[group].sum() >= least]
    kept.sort(key=lambda group: (-int(weights[group].sum()), int(group[0])))
    typical = _typical([[texts[n] for n in group] for group in kept])
    found: list[Proposal] = []
    for group, words in zip(kept, typical, strict=True):
        likeness = vectors[group] @ vectors[group].T
        medoid = int((likeness @ weights[group]).argmax())
        order = np.argsort(-likeness[medoid], kind="stable")
        near = [medoid, *(int(n) for n in order if n != medoid)]
        number = int(weights[group].sum())
        found.append(
            Proposal(
                name=_unique(words, {one.name for one in found}),
                description=texts[group[medoid]],
                words=tuple(words),
                count=number,
                share=number / int(weights.sum()),
                examples=tuple(texts[group[n]] for n in near[:examples]),
                cohesion=float(np.average(likeness[medoid], weights=weights[group])),
            )
        )
    return found


def _typical(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return each group's words by class-based TF-IDF: `tf * log(1 + A / f)`.

    `tf` counts a word in the group's texts, `f` in all, and A is the mean number of words of a
    group (Grootendorst, "BERTopic: Neural topic modeling with a class-based TF-IDF procedure",
    2022).
    """
    each = [
        Counter(word for text in group for word in set(terms(text)) if " " not in word)
        for group in groups
    ]
    total = sum(each, Counter[str]())
    mean = sum(total.values()) / max(1, len(groups))
    found = []
    for counts in each:
        scores = {word: n * math.log(1 + mean / total[word]) for word, n in counts.items()}
        found.append(sorted(scores, key=lambda word: (-scores[word], word))[:WORDS])
    return found


def _unique(words: Sequence[str], taken: set[str]) -> str:
    plain = [word for word in words[:_NAME_WORDS] if word.isascii()] or list(words[:_NAME_WORDS])
    name = "_".join(word.replace("'", "") for word in plain)[:_NAME_CHARACTERS] or "other"
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name[: _NAME_CHARACTERS - 4]}_{number}", number + 1
    return unique
