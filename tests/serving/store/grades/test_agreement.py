"""Alpha against Krippendorff's own example, and where nothing can be said."""

import random

import pytest

from serving.store.grades.agreement import LEAST_UNITS, agreement

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers,
# twelve units, missing data; he gives 0.815 with the ordinal metric.


def example() -> list[tuple[str, str, int]]:
    rows = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    return [
        (f"unit-{number}", observer, value - 1)
        for observer, row in rows.items()
        for number, value in enumerate(row)
        if value is not None
    ]


def test_it_is_krippendorffs_own_figure() -> None:
    found = agreement(example(), 5)
    assert found.alpha == pytest.approx(0.815, abs=0.0005)
    assert (found.units, found.graders) == (11, 4)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.alpha < found.high


def test_who_always_agrees_has_one_and_who_guesses_about_none() -> None:
    drawn = random.Random(1)
    same = [(f"u{n}", who, n % 3) for n in range(60) for who in ("a", "b")]
    assert agreement(same, 3).alpha == 1
    guessed = [(f"u{n}", who, drawn.randrange(3)) for n in range(600) for who in ("a", "b")]
    found = agreement(guessed, 3)
    assert found.alpha == pytest.approx(0, abs=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_one_step_apart_is_nearer_than_two() -> None:
    base = [(f"u{n}", who, n % 3) for n in range(12) for who in ("a", "b")]
    one = [("far", "a", 0), ("far", "b", 1)]
    two = [("far", "a", 0), ("far", "b", 2)]
    near, far = (agreement([*base, *pair], 3).alpha for pair in (one, two))
    assert near is not None
    assert far is not None
    assert far < near < 1


def test_nothing_is_said_of_nothing() -> None:
    assert agreement([], 3).alpha is None
    alone = agreement([("u1", "a", 1), ("u2", "a", 2)], 3)
    assert (alone.alpha, alone.units, alone.graders) == (None, 0, 1)
    always_good = [(f"u{n}", who, 2) for n in range(9) for who in ("a", "b")]
    assert agreement(always_good, 3).alpha is None


def test_few_answers_have_no_interval() -> None:
    few = [(f"u{n}", who, n % 3) for n in range(LEAST_UNITS - 1) for who in ("a", "b")]
    found = agreement(few, 3)
    assert (found.alpha, found.low, found.high) == (1, None, None)
