"""Groups that are apart are found, however many there are."""

import numpy as np
import pytest

from training.intents.clusters import clusters, cuts


def around(middles: np.ndarray, each: int) -> np.ndarray:
    chance = np.random.default_rng(0)
    points = np.repeat(middles, each, axis=0) + chance.normal(0, 0.05, (len(middles) * each, 8))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("groups", [2, 5, 8])
def test_each_group_is_found(groups: int) -> None:
    labels = clusters(around(np.eye(8)[:groups], 30))
    found = [set(labels[n * 30 : (n + 1) * 30]) for n in range(groups)]
    assert all(len(one) == 1 for one in found)
    assert len(set.union(*found)) == groups


def test_the_same_texts_give_the_same_groups() -> None:
    vectors = around(np.eye(8)[:4], 10)
    assert clusters(vectors).tolist() == clusters(vectors).tolist()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_texts_are_one_group(count: int) -> None:
    assert clusters(np.eye(8)[:count]).tolist() == [0] * count


def test_texts_that_are_alike_are_one_group() -> None:
    assert set(clusters(np.tile(np.eye(8)[0], (12, 1)))) == {0}


def test_cuts_reach_from_two_to_groups_of_eight() -> None:
    found = cuts(960)
    assert (found[0], found[-1]) == (2, 120)
    assert cuts(4) == [2]
