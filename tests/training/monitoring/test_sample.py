import numpy as np
import pytest

from training.monitoring import sample
from training.recipe.monitoring import GradingConfig


def test_the_number_is_that_of_the_interval_wanted() -> None:
    assert sample.needed(0.05, confidence=0.95) == 385
    assert sample.needed(0.1, confidence=0.95) == 97
    assert sample.needed(0.05, confidence=0.95, deviation=0.25) == 97


def test_so_many_grades_do_give_that_interval() -> None:
    rng = np.random.default_rng(0)
    count = sample.needed(0.05, confidence=0.95)
    means = (rng.random((4000, count)) < 0.5).mean(axis=1)
    assert np.mean(abs(means - 0.5) <= 0.05) == pytest.approx(0.95, abs=0.015)


def test_a_share_follows_from_the_answers_expected() -> None:
    found = sample.plan(GradingConfig(), confidence=0.95, expected=3850, deviation=0.5)
    assert (found.share, found.grades, found.capped) == (pytest.approx(0.1), 385, False)
    assert found.half_width == pytest.approx(0.05, abs=1e-4)


def test_the_cost_caps_it_and_says_what_that_gives() -> None:
    rules = GradingConfig(cost=0.5, cost_at_most=50)
    found = sample.plan(rules, confidence=0.95, expected=1000, deviation=0.5)
    assert (found.share, found.grades, found.cost) == (0.1, 100, 50)
    assert found.capped
    assert found.needed == 385
    assert found.half_width == pytest.approx(0.098, abs=1e-3)


def test_few_answers_are_all_drawn_and_none_are_no_fault() -> None:
    few = sample.plan(GradingConfig(), confidence=0.95, expected=100, deviation=0.5)
    assert (few.share, few.grades, few.capped) == (1.0, 100, False)
    none = sample.plan(GradingConfig(), confidence=0.95, expected=0, deviation=0.5)
    assert (none.share, none.grades, none.half_width) == (1.0, 0, None)
    dear = GradingConfig(cost=100, cost_at_most=50)
    nothing = sample.plan(dear, confidence=0.95, expected=100, deviation=0.5)
    assert (nothing.share, nothing.grades, nothing.half_width) == (0.0, 0, None)


def test_a_cost_that_divides_evenly_loses_no_grade_to_rounding() -> None:
    rules = GradingConfig(cost=0.1, cost_at_most=0.3)
    assert sample.plan(rules, confidence=0.95, expected=100, deviation=0.5).grades == 3


def test_the_deviation_is_the_worst_until_grades_show_less() -> None:
    assert sample.deviation_of([]) == sample.WORST_DEVIATION
    assert sample.deviation_of([1.0] * 3) == pytest.approx(0.25)
    assert sample.deviation_of([1.0] * 99) == pytest.approx(0.05)
    rng = np.random.default_rng(1)
    grades = list(rng.normal(0.6, 0.1, 500))
    assert sample.deviation_of(grades) == pytest.approx(0.1, abs=0.01)
