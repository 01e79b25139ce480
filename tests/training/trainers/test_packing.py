"""Packs: every example in one, none too full, few of them."""

from hypothesis import given
from hypothesis import strategies as st

from training.trainers.packing import pack

LENGTHS = st.lists(st.integers(1, 300), max_size=40)


@given(LENGTHS, st.integers(1, 400))
def test_every_example_is_in_one_pack_and_no_pack_is_too_full(
    lengths: list[int], capacity: int
) -> None:
    packs = pack(lengths, capacity)
    assert sorted(index for indices in packs for index in indices) == list(range(len(lengths)))
    for indices in packs:
        assert sum(lengths[i] for i in indices) <= capacity or len(indices) == 1


@given(LENGTHS, st.integers(300, 400))
def test_no_two_packs_would_fit_into_one(lengths: list[int], capacity: int) -> None:
    loads = sorted(sum(lengths[i] for i in indices) for indices in pack(lengths, capacity))
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


def test_the_best_fit_is_taken() -> None:
    assert pack([6, 5, 4, 3, 2], capacity=10) == [[0, 2], [1, 3, 4]]


def test_an_example_longer_than_a_pack_goes_alone() -> None:
    assert pack([3, 20, 4], capacity=10) == [[1], [2, 0]]
