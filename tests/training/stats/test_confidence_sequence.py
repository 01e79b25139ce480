import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.stats.confidence_sequence import (
    Floats,
    capital,
    estimate,
    lower_bound,
    refuted,
    scores,
)

SHARES = np.repeat([0.05, 0.2, 0.5], 300)


def trial(
    runs: int, effect: float, seed: int, share: Floats = SHARES
) -> tuple[Floats, np.ndarray, Floats]:
    """Return outcomes, arms and shares of conversations, the outcomes of both drifting."""
    rng = np.random.default_rng(seed)
    size = (runs, share.size)
    canary = rng.random(size) < share
    drift = 0.15 * np.sin(np.linspace(0, 9, share.size))
    outcome = np.clip(rng.normal(0.6 + drift + effect * canary, 0.15), 0, 1)
    return outcome, canary, np.broadcast_to(share, size)


def test_scores_are_unbiased_while_shares_grow_and_outcomes_drift() -> None:
    outcome, canary, share = trial(4000, 0.0, seed=1)
    z = scores(outcome, canary, share).z
    error = z.mean(axis=1).std() / np.sqrt(len(z))
    assert abs(z.mean()) < 4 * error
    pooled = outcome[canary].mean() - outcome[~canary].mean()
    assert abs(pooled) > 0.01  # what the scores are for


def test_scores_use_nothing_that_comes_later() -> None:
    outcome, canary, share = (array[0] for array in trial(1, 0.0, seed=2))
    whole, part = scores(outcome, canary, share), scores(outcome[:50], canary[:50], share[:50])
    for name in ("z", "floor", "weight", "spread"):
        np.testing.assert_allclose(getattr(whole, name)[:50], getattr(part, name))


@given(
    arrays.arrays(float, 40, elements=st.floats(0, 1)),
    arrays.arrays(bool, 40),
    arrays.arrays(float, 40, elements=st.floats(0.01, 0.99)),
    st.floats(-0.9, 0.9),
)
def test_capital_is_never_lost_whole(
    outcome: Floats, canary: np.ndarray, share: Floats, null: float
) -> None:
    scored = scores(outcome, canary, share)
    assert np.all(scored.z >= scored.floor - 1e-9)
    assert np.all(capital(scored, null) > 0)


def test_false_alarms_stay_below_the_stated_rate_at_any_number_of_looks() -> None:
    outcome, canary, share = trial(1500, 0.0, seed=3)
    alarms = capital(scores(outcome, canary, share), 0.0).max(axis=1) >= 1 / 0.1
    assert alarms.mean() < 0.1


def test_a_true_effect_is_found() -> None:
    outcome, canary, share = trial(200, 0.1, seed=4)
    found = capital(scores(outcome, canary, share), 0.0).max(axis=1) >= 1 / 0.05
    assert found.mean() > 0.9


def test_bounds_cover_the_difference_at_every_time() -> None:
    outcome, canary, share = trial(150, 0.05, seed=5)
    above = [
        lower_bound(scores(y, a, p), 0.1) > 0.05
        for y, a, p in zip(outcome, canary, share, strict=True)
    ]
    assert np.mean(above) < 0.1


def test_a_bound_never_falls_and_the_estimate_nears_the_difference() -> None:
    outcome, canary, share = (array[0] for array in trial(1, 0.1, 6, np.full(3000, 0.5)))
    bounds = [
        lower_bound(scores(outcome[:n], canary[:n], share[:n]), 0.05)
        for n in (10, 100, 300, 1000, 3000)
    ]
    assert bounds == sorted(bounds)
    assert bounds[0] < 0 < bounds[-1] < 0.1
    assert estimate(scores(outcome, canary, share)) == pytest.approx(0.1, abs=0.02)


@settings(max_examples=30)
@given(arrays.arrays(float, 60, elements=st.floats(0, 1)), arrays.arrays(bool, 60), st.data())
def test_evidence_falls_as_the_claim_grows(
    outcome: Floats, canary: np.ndarray, data: st.DataObject
) -> None:
    scored = scores(outcome, canary, np.full(60, 0.3))
    less, more = sorted(data.draw(st.tuples(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))))
    assert np.all(capital(scored, less) >= capital(scored, more) * (1 - 1e-9))


@settings(max_examples=30)
@given(arrays.arrays(float, 60, elements=st.floats(0, 1)), arrays.arrays(bool, 60))
def test_arms_that_change_names_change_the_sign(outcome: Floats, canary: np.ndarray) -> None:
    share = np.full(60, 0.3)
    one, other = scores(outcome, canary, share), scores(1 - outcome, canary, share)
    swapped = scores(outcome, ~canary, 1 - share)
    np.testing.assert_allclose(one.z, -other.z, atol=1e-9)
    np.testing.assert_allclose(one.z, -swapped.z, atol=1e-9)


def test_no_conversations_say_nothing() -> None:
    nothing = scores([], [], [])
    assert not refuted(nothing, -0.99, 0.5)
    assert lower_bound(nothing, 0.05) == -1
    assert estimate(nothing) == 0


@pytest.mark.parametrize(("outcome", "share"), [(1.5, 0.5), (-0.1, 0.5), (0.5, 0.0), (0.5, 1.0)])
def test_values_out_of_range_are_refused(outcome: float, share: float) -> None:
    with pytest.raises(ValueError, match="outcomes lie in"):
        scores([outcome], [True], [share])
