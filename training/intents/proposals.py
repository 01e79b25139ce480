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
    typical = _typical(texts, [group.tolist() for group in kept])
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


def _typical(texts: Sequence[str], groups: Sequence[Sequence[int]]) -> list[list[str]]:
    """Return each group's words by how much they set it apart: `p log(p / q)`.

    p is the share of the group's texts that hold a word, q that of all texts: the word's part of
    the Kullback-Leibler divergence (Bigi, "Using Kullback-Leibler Distance for Text
    Categorization", ECIR 2003). What is said everywhere, such as "please", is 0.
    """
    held = [{term for term in terms(text) if " " not in term} for text in texts]
    everywhere = Counter(word for words in held for word in words)
    found = []
    for group in groups:
        here = Counter(word for n in group for word in held[n])
        shares = {word: count / len(group) for word, count in here.items()}
        scores = {
            word: share * math.log(share * len(texts) / everywhere[word])
            for word, share in shares.items()
        }
        order = sorted(scores, key=lambda word: (-scores[word], -shares[word], word))
        found.append(order[:WORDS])
    return found


def _unique(words: Sequence[str], taken: set[str]) -> str:
    name = "_".join(word.replace("'", "") for word in words[:_NAME_WORDS])[:_NAME_CHARACTERS]
    name = unique = name or "other"
    number = 2
    while unique in taken:
        unique, number = f"{name[: _NAME_CHARACTERS - 4]}_{number}", number + 1
    return unique
