"""Who tells that an answer was seen and how long its turn took."""

from math import inf
from typing import Any

import pytest

from tests.training.analysis.test_impact import only, served
from training.analysis import handling
from training.analysis.handling import Handling, Sources
from training.analysis.impact import answers

YEAR_S = 3e7
"""By how much the desktop's clock is ahead: of it, only differences mean something."""
SEEN: dict[str, Any] = {"displayed": (YEAR_S + 2, 103.0)}
SENT: dict[str, Any] = {"went_out": (YEAR_S + 9, 140.0)}


def test_events_time_a_turn_by_the_desktop_s_own_clock() -> None:
    one = served("i", {"used": True}, **SEEN, **SENT)
    assert handling.of(one) == Handling(7, "events")
    assert (only(one).handling_s, only(one).timed_by, only(one).seen_by) == (7, "events", "event")


@pytest.mark.parametrize("events", [{}, SEEN, SENT, SEEN | {"went_out": (YEAR_S + 1, 140.0)}])
def test_without_both_ends_the_word_on_the_answer_times_it(events: dict[str, Any]) -> None:
    assert handling.of(served("i", {"used": True}, **events)) == Handling(10, "feedback")
    assert handling.of(served("i", **events)) == Handling(None, None)


def test_where_desktops_tell_only_what_was_displayed_or_judged_was_shown() -> None:
    rows = [
        served("before", created_at=50.0),
        served("silent"),
        served("displayed", **SEEN),
        served("judged", {"rejected": True}),
        served("typed", {"edit": "Mine.", "used": False}, typed=True, **SENT),
        served("typed beside", {"edit": "Mine.", "used": False}, typed=True, **SEEN, **SENT),
    ]
    found = {one.id: one.seen_by for one in answers(rows, "care")}
    assert found == {
        "before": "assumed",
        "displayed": "event",
        "judged": "word",
        "typed beside": "event",
    }


def test_where_no_desktop_tells_every_complete_answer_is_taken_for_shown() -> None:
    assert handling.tells_from([served("a"), served("b")]) == inf
    assert [one.seen_by for one in answers([served("a"), served("b")], "care")] == ["assumed"] * 2


def test_what_was_held_back_was_not_seen_though_its_text_is_known() -> None:
    held = served("held", {"edit": "Mine.", "used": False}, shown_by_draw=False, holdback=0.1)
    silent = served("silent", {"edit": "Mine.", "used": False}, finish_reason="abstained")
    assert [one.id for one in answers([held, silent, served("k", shown_by_draw=True)], "care")] == [
        "k"
    ]


def test_the_report_says_which_witness_was_used() -> None:
    rows = [
        served("a", {"used": True}, **SEEN, **SENT),
        served("b", {"used": True}),
        served("c", created_at=50.0),
    ]
    found = answers(rows, "care")
    counted = handling.sources([(one.seen_by, one.timed_by) for one in found])
    assert counted == Sources(displayed=1, judged=1, assumed=1, by_events=1, by_feedback=1)
    assert "Timed: 1 by events" in counted.words()
