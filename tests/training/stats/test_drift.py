import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.stats import drift, proportions
from training.stats.confidence_sequence import Floats

ALPHA = 0.2
RUNS = 400


def alarms(present: Floats, reference: Floats, margin: float = 0.0) -> int:
    return sum(
        drift.rise(old, new, margin=margin, alpha=ALPHA, confidence=0.95).after is not None
        for old, new in zip(reference, present, strict=True)
    )


def rare(rng: np.random.Generator, rate: float, count: int) -> Floats:
    return (rng.random((RUNS, count)) < rate).astype(float)


@pytest.mark.parametrize("kind", ["rare", "skewed"])
def test_false_alarms_stay_below_the_stated_rate_however_often_one_looks(kind: str) -> None:
    """A/A: both windows are of one distribution, and every value is looked at."""
    rng = np.random.default_rng(1)
    if kind == "rare":
        both = rare(rng, 0.03, 200), rare(rng, 0.03, 400)
    else:
        both = rng.beta(4, 1, (RUNS, 200)), rng.beta(4, 1, (RUNS, 400))
    false = alarms(both[1], both[0])
    # Refuted only if even the interval's lower end exceeds what is stated.
    assert proportions.clopper_pearson(false, RUNS, confidence=0.99).low <= ALPHA
    assert false / RUNS < ALPHA


def test_a_test_that_is_looked_at_often_without_the_bet_would_cry_wolf() -> None:
    """What the bet is for: the same A/A windows, by a z-test after every value."""
    rng = np.random.default_rng(1)
    reference, present = rng.beta(4, 1, (RUNS, 200)), rng.beta(4, 1, (RUNS, 400))
    seen = np.arange(1, 401)
    means = np.cumsum(present, axis=1) / seen
    spread = reference.std(axis=1, keepdims=True)
    z = (means - reference.mean(axis=1, keepdims=True)) / (spread * np.sqrt(1 / seen + 1 / 200))
    assert (z[:, 20:].max(axis=1) > 0.8416).mean() > 1.5 * ALPHA  # one-sided, at the same level


def test_a_drift_is_found_and_one_within_the_margin_is_not() -> None:
    rng = np.random.default_rng(2)
    reference = rare(rng, 0.03, 400)
    assert alarms(rare(rng, 0.15, 300), reference) > 0.9 * RUNS
    assert alarms(rare(rng, 0.05, 300), reference, margin=0.05) < 0.05 * RUNS


def test_a_fall_is_a_rise_turned_over() -> None:
    rng = np.random.default_rng(3)
    reference, present = rng.beta(8, 2, 300), rng.beta(4, 3, 300)
    found = drift.fall(reference, present, margin=0.02, alpha=0.01, confidence=0.95)
    assert found.after is not None
    assert found.after < 300
    assert found.evidence >= found.needed == 100
    assert found.reference.low < reference.mean() < found.reference.high
    assert found.present.low < present.mean() < found.present.high
    assert found.present.high < found.reference.low
    assert drift.rise(reference, present, margin=0.0, alpha=0.01, confidence=0.95).after is None


def test_the_alarm_is_raised_once_and_stays_where_it_was() -> None:
    rng = np.random.default_rng(4)
    reference = rng.beta(2, 8, 200)
    present = np.concatenate([rng.beta(6, 4, 80), rng.beta(2, 8, 400)])
    first = drift.rise(reference, present[:100], margin=0.0, alpha=0.05, confidence=0.95)
    later = drift.rise(reference, present, margin=0.0, alpha=0.05, confidence=0.95)
    assert first.after == later.after
    assert first.after is not None


@settings(max_examples=50)
@given(arrays.arrays(float, 30, elements=st.floats(0, 1)))
def test_the_present_s_interval_holds_its_mean_and_never_widens(values: Floats) -> None:
    part = drift.interval(values[:15], confidence=0.9)
    whole = drift.interval(values, confidence=0.9)
    assert part.low <= whole.low + 1e-9
    assert whole.high <= part.high + 1e-9
    assert 0 <= whole.low <= whole.high <= 1


def test_the_present_s_interval_covers_at_every_time() -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        found = drift.interval(rng.beta(1, 3, 300), confidence=0.8)
        missed += not found.low <= 0.25 <= found.high
    assert missed / 200 < 0.2


def test_what_exceeds_the_reference_s_number_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    reference, present = rng.beta(2, 8, 50), rng.beta(2, 8, 80)
    present[50:] = 1.0
    found = drift.rise(reference, present, margin=0.0, alpha=0.05, confidence=0.95)
    assert found.after is None
    assert found.present.count == 80


def test_a_reference_at_the_edge_leaves_no_room_and_no_alarm() -> None:
    found = drift.rise([1.0] * 50, [1.0] * 50, margin=0.1, alpha=0.05, confidence=0.95)
    assert found.after is None
    assert found.evidence < 1


@pytest.mark.parametrize(("reference", "present"), [([], [0.5]), ([0.5], []), ([0.5], [1.5])])
def test_what_is_no_figure_is_refused(reference: list[float], present: list[float]) -> None:
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        drift.rise(reference, present, margin=0.0, alpha=0.05, confidence=0.95)
