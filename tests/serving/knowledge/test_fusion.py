"""Reciprocal rank fusion."""

from serving.knowledge.fusion import K, fused


def test_one_ranking_stays_as_it_is() -> None:
    assert fused([[3, 1, 2]]) == [3, 1, 2]
    assert fused([]) == []


def test_what_both_rank_high_goes_before_what_one_ranks_first() -> None:
    assert fused([[1, 2, 3], [4, 2, 5]])[0] == 2


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    # 7: 1/(60+1); 8: 1/(60+2) + 1/(60+120), which is more by a little.
    other = [100 + n for n in range(119)]
    assert 1 / (K + 2) + 1 / (K + 120) > 1 / (K + 1)
    assert fused([[7, 8], [*other, 8]])[0] == 8
    assert fused([[7, 8], [9]]) == [7, 9, 8]
