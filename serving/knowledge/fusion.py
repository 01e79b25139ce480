"""Rankings of several kinds made into one."""

from collections import defaultdict
from collections.abc import Sequence

K = 60
"""As in the paper: how little the very first ranks count for more than the next."""


def fused(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Fuse rankings by the reciprocals of their ranks.

    Each item's score is the sum of 1 / (K + rank) over the rankings that hold it, so no scores
    are compared that were measured differently (Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion
    outperforms Condorcet and individual rank learning methods", SIGIR 2009).

    Args:
        rankings: Each (n,), items from the best on.

    Returns:
        Every item once, from the best on; ties in the order of the first ranking that holds them.
    """
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] += 1 / (K + rank)
    return sorted(scores, key=lambda item: -scores[item])
