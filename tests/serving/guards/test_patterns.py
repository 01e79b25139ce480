"""A line's own patterns take bounded time."""

import pytest

from serving.guards.patterns import Patterns, patterns


def test_words_of_an_empty_list_find_nothing() -> None:
    assert Patterns.of_words("profanity", [])("anything") == []


def test_every_pattern_that_matches_is_a_finding_of_its_number() -> None:
    found = Patterns("off_topic", ["x", "b+", "c"])("abbc")
    assert [(one.span, one.reason[-3:-2]) for one in found] == [((1, 3), "2"), ((3, 4), "3")]


def test_a_pattern_that_runs_away_ends_by_an_error() -> None:
    slow = Patterns("off_topic", [r"(a+)+$"])  # which the configuration would refuse
    with pytest.raises(TimeoutError):
        slow("a" * 5000 + "b")


def test_patterns_are_compiled_once() -> None:
    assert patterns("off_topic", ("x",)) is patterns("off_topic", ("x",))
