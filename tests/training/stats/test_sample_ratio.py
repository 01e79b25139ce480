import numpy as np
import pytest

from training.stats.sample_ratio import capital, mismatched

RNG = np.random.default_rng


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_stated_shares_are_seldom_refuted_however_often_one_looks(share: float) -> None:
    arms = RNG(0).random((2000, 1000)) < share
    ever = capital(arms, np.full(arms.shape, share)).max(axis=-1) >= 1 / 0.05
    assert ever.mean() <= 0.05


def test_under_stated_shares_the_evidence_is_one_on_average() -> None:
    arms = RNG(1).random((200_000, 5)) < 0.3
    assert capital(arms, np.full(arms.shape, 0.3))[:, -1].mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("share", "true"), [(0.5, 0.42), (0.05, 0.0), (0.2, 0.26)])
def test_lost_or_doubled_conversations_are_found(share: float, true: float) -> None:
    arms = RNG(2).random(4000) < true
    assert mismatched(arms, np.full(4000, share), 0.001)


def test_it_holds_while_the_share_grows_and_says_nothing_of_nothing() -> None:
    share = np.repeat([0.05, 0.2, 0.5], 2000)
    arms = RNG(3).random(6000) < share
    assert not mismatched(arms, share, 0.001)
    assert not mismatched([], [], 0.001)
    with pytest.raises(ValueError, match="shares"):
        capital([True], [1.0])
