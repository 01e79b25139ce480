"""Texts that mean alike, found without a list: average linkage, cut where it separates best.

Agglomerative clustering by the mean cosine distance between groups (Sokal and Michener, 1958;
Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011), cut into the number of
groups whose mean silhouette is highest (Rousseeuw, "Silhouettes", Journal of Computational and
Applied Mathematics 20, 1987). So nothing is to be set beforehand, and the same texts give the same
groups. It holds n x n distances: `MOST` texts are half a gigabyte.
"""

import numpy as np
import numpy.typing as npt

from training.intents.embedding import Vectors

MOST = 4_000
"""Different texts at once."""
_CUTS = 24
_LEAST_MEAN = 8
"""Texts of a group on the mean, at least: silhouettes of sentences go on rising until groups are
pairs (seen on 1,200 texts of banking77's train split, where half were then left out)."""

Labels = npt.NDArray[np.intp]


def clusters(vectors: Vectors) -> Labels:
    """Return the (n,) group of each text, numbered from 0.

    Args:
        vectors: (n, d), each of length 1; a text without a known word is all zeros.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    count = len(vectors)
    if count < 3:
        return np.zeros(count, np.intp)
    distances = np.clip(1 - vectors @ vectors.T, 0, 2)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    best, found = -np.inf, np.zeros(count, np.intp)
    for groups in cuts(count):
        labels = fcluster(tree, groups, "maxclust") - 1
        if 1 < len(np.unique(labels)) < count:
            score = silhouette_score(distances, labels, metric="precomputed")
            if score > best:
                best, found = score, labels.astype(np.intp)
    return found


def cuts(count: int) -> list[int]:
    """Return the numbers of groups that are tried for so many texts, evenly by ratio."""
    largest = max(2, count // _LEAST_MEAN)
    return sorted({round(n) for n in np.geomspace(2, largest, _CUTS)})
