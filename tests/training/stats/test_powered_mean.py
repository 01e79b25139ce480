import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.stats import powered_mean
from training.stats.powered_mean import Powered

GRADED = 60
CONVERSATIONS = 200
TURNS = 3


def graded(seed: int, noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return a machine's grades, people's of all, and conversations, whose answers are alike."""
    rng = np.random.default_rng(seed)
    skill = np.repeat(rng.normal(0, 1, CONVERSATIONS), TURNS)
    good = skill + rng.normal(0, 1, skill.size)
    people = (good > -0.5).astype(float)
    machine = (good + rng.normal(0, noise, good.size) > -1.0).astype(float)  # too kind
    return machine, people, [f"c{n // TURNS}" for n in range(skill.size)]


def asked(people: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed + 10_000)
    chosen = rng.permutation(people.size)[:GRADED]
    return np.where(np.isin(np.arange(people.size), chosen), people, math.nan)


def estimate(seed: int, noise: float) -> tuple[Powered, float]:
    machine, people, groups = graded(seed, noise)
    found = powered_mean.mean(machine, asked(people, seed), groups=groups, confidence=0.9)
    assert found is not None
    return found, float(people.mean())


def test_the_estimate_is_unbiased_though_the_machine_is_and_its_interval_is_shorter() -> None:
    runs = [estimate(seed, noise=0.3) for seed in range(300)]
    errors = [found.powered.mean - truth for found, truth in runs]
    assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(len(runs)) + 0.002
    kind = [graded(seed, 0.3)[0].mean() - truth for seed, (_, truth) in enumerate(runs)]
    assert np.mean(kind) > 0.08  # what the machine alone would be off by
    widths = [[one.high - one.low for one in (found.powered, found.alone)] for found, _ in runs]
    helped, alone = np.mean(widths, axis=0)
    assert helped < 0.85 * alone


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_the_interval_covers_about_as_often_as_it_says(noise: float) -> None:
    """Over samples of people and populations: of the mean that all answers would have."""
    limit = 0.6381631950841185  # P(N(0, 2) > -0.5)
    hits = [
        found.powered.low <= limit <= found.powered.high
        for found, _ in (estimate(seed, noise) for seed in range(400))
    ]
    assert 0.85 < np.mean(hits) < 0.95


def test_a_machine_that_knows_nothing_is_not_heard() -> None:
    rng = np.random.default_rng(0)
    _, people, groups = graded(0, 0.3)
    found = powered_mean.mean(rng.random(people.size), asked(people, 0), groups=groups)
    assert found is not None
    assert found.weight < 0.35
    constant = powered_mean.mean(np.ones(people.size), asked(people, 0), groups=groups)
    assert constant is not None
    assert constant.weight == 0
    assert constant.powered == constant.alone


def test_without_help_it_is_student_s_interval_of_the_labels() -> None:
    labels = np.array([0.4, 0.6, 0.7, 0.5, math.nan, math.nan])
    found = powered_mean.mean(np.zeros(6), labels, groups=list("abcdef"), confidence=0.95)
    assert found is not None
    known = labels[:4]
    half = 3.182446305284263 * known.std(ddof=1) / 2
    assert found.alone.mean == pytest.approx(known.mean())
    assert found.alone.count == 4
    assert found.alone.low == pytest.approx(known.mean() - half)
    assert found.alone.high == pytest.approx(known.mean() + half)


def test_too_few_labels_say_nothing() -> None:
    nothing = [math.nan] * 3
    assert powered_mean.mean([0.1, 0.2, 0.3], nothing, groups=list("abc")) is None
    assert powered_mean.mean([0.1, 0.2, 0.3], [1, 0, math.nan], groups=list("aab")) is None
    assert powered_mean.mean([], [], groups=[]) is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="predictions"):
        powered_mean.mean([0.1], [0.1, 0.2], groups=list("ab"))
    with pytest.raises(ValueError, match="lie in"):
        powered_mean.mean([0.1, 0.2], [0.1, 1.2], groups=list("ab"))
