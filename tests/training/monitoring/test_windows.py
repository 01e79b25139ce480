from datetime import UTC, datetime, timedelta

import pytest

from training.data.sampling import DAY_S
from training.errors import RecipeError
from training.monitoring import windows
from training.monitoring.rules import Answer
from training.recipe.monitoring import MonitoringConfig

RULES = MonitoringConfig(window_s=100)
NOW = datetime(2026, 11, 27, 15, tzinfo=UTC).timestamp()  # a Friday


def answer(conversation: str, at: float, characters: int | None = 10, **found: float) -> Answer:
    name = f"{conversation}-{at}"
    return Answer(name, conversation, at, "care@1", characters, found, 1.0)


def test_periods_begin_at_a_monday_and_are_the_same_whenever_one_looks() -> None:
    at = windows.at(RULES, NOW)
    assert datetime.fromtimestamp(at.begins, UTC) == datetime(2026, 11, 23, tzinfo=UTC)
    assert at.ends - at.begins == 7 * DAY_S
    assert at.until == at.begins - 200  # by then all that counts of the reference is known
    assert at.until - at.since == 14 * DAY_S
    later = windows.at(RULES, at.ends - 1)
    assert (later.since, later.until, later.begins) == (at.since, at.until, at.begins)
    assert windows.at(RULES, at.ends).begins == at.ends


def test_a_pinned_reference_stays_and_may_not_lie_in_the_present() -> None:
    pinned = datetime(2026, 10, 5, tzinfo=UTC)
    at = windows.at(RULES.model_copy(update={"reference_until": pinned}), NOW)
    assert at.until == pinned.timestamp() - 200
    with pytest.raises(RecipeError, match=r"monitoring\.reference_until"):
        windows.at(RULES.model_copy(update={"reference_until": pinned + timedelta(60)}), NOW)


def test_a_conversation_counts_once_nothing_of_it_can_change() -> None:
    answers = [answer("a", 1000.0), answer("a", 1050.0), answer("a", 1100.0), answer("b", 1150.0)]
    assert windows.conversations(answers, 1000.0, 2000.0, RULES, 1199.0) == []
    (first,) = windows.conversations(answers, 1000.0, 2000.0, RULES, 1200.0)
    assert (first.id, first.started) == ("a", 1000.0)
    assert [one.at for one in first.answers] == [1000.0, 1050.0]
    both = windows.conversations(answers, 1000.0, 2000.0, RULES, 9999.0)
    assert [one.id for one in both] == ["a", "b"]


def test_a_conversation_belongs_to_the_window_in_which_it_began() -> None:
    answers = [answer("a", 990.0), answer("a", 1010.0), answer("b", 1000.0)]
    found = windows.conversations(answers, 1000.0, 2000.0, RULES, 9999.0)
    assert [one.id for one in found] == ["b"]


def test_a_figure_is_the_mean_of_a_conversation_s_answers_where_it_is_known() -> None:
    answers = [
        answer("a", 1.0, refusals=1.0),
        answer("a", 2.0, refusals=0.0),
        answer("b", 3.0),
        answer("c", 4.0, refusals=0.0),
    ]
    found = windows.conversations(answers, 0.0, 10.0, RULES, 9999.0)
    assert windows.values(found, "refusals", None) == [0.5, 0.0]


def test_a_length_is_half_at_the_typical_one_and_a_long_one_moves_it_little() -> None:
    lengths = [10, 20, 30, 20_000, None]
    answers = [answer(str(n), float(n), length) for n, length in enumerate(lengths)]
    found = windows.conversations(answers, 0.0, 10.0, RULES, 9999.0)
    typical = windows.typical_length(found)
    assert typical == 25.0
    values = windows.values(found, "length", 20.0)
    assert values == pytest.approx([1 / 3, 0.5, 0.6, 0.999], abs=1e-3)
    assert windows.values(found, "length", None) == []
    assert windows.typical_length([]) is None


def test_grades_keep_the_order_in_which_they_came_one_a_conversation() -> None:
    answers = [answer("a", 1.0), answer("a", 2.0), answer("b", 3.0)]
    found = windows.conversations(answers, 0.0, 10.0, RULES, 9999.0)
    given = {"b-3.0": 0.2, "a-2.0": 0.4, "a-1.0": 0.9, "unknown": 1.0}
    assert windows.in_order_of_grades(found, given) == [0.2, 0.4]
    later = {**given, "a-9.0": 0.0}
    assert windows.in_order_of_grades(found, later)[:2] == [0.2, 0.4]
