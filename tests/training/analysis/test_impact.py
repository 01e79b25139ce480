from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.store.records import FeedbackRecord, Served
from training.analysis.impact import ALL, Answer, Row, answers, position, table

SHOWN_AT = 101.0
"""Asked at 100 s, answered a second later."""


def served(name: str = "i", *said: dict[str, Any], **fields: Any) -> Served:
    feedback = tuple(
        FeedbackRecord(
            interaction_id=name,
            client_key=str(n),
            created_at=one.pop("at", SHOWN_AT + 10 * (n + 1)),
            **one,
        )
        for n, one in enumerate(dict(one) for one in said)
    )
    content: dict[str, Any] = {
        "id": name,
        "created_at": 100.0,
        "model_requested": "care",
        "version": "care@1",
        "conversation_id": f"c-{name}",
        "latency_ms": 1000.0,
        "status": "completed",
        "output": "We will send it.",
        "task": "suggestion",
        "turn_position": 5,
    }
    return Served(**{**content, **fields}, feedback=feedback)


def only(one: Served) -> Answer:
    (found,) = answers([one], "care")
    return found


@pytest.mark.parametrize(
    ("said", "fate", "distance", "keystrokes"),
    [
        ({"used": True}, "as it was", 0.0, 16),
        ({"edit": "We will send it."}, "as it was", 0.0, 16),
        ({"edit": "We will send him."}, "edited", 2 / 17, 15),
        ({"edit": "Goodbye now, take care."}, "rewritten", None, 0),
        ({"edit": "We will send it.", "used": False}, "rewritten", 0.0, 0),
        ({"rejected": True}, "rejected", None, 0),
        ({"used": False}, "left", None, 0),
        ({"rating": 1.0}, None, None, None),
        ({"comment": "hm"}, None, None, None),
    ],
)
def test_what_an_agent_did_with_it(
    said: dict[str, Any], fate: str | None, distance: float | None, keystrokes: float | None
) -> None:
    found = only(served("i", said))
    assert (found.fate, found.keystrokes) == (fate, keystrokes)
    assert found.used == (fate in ("as it was", "edited"))
    if fate != "rewritten":
        assert found.distance == (distance if distance is None else pytest.approx(distance))


def test_what_was_held_is_not_used_whatever_the_reviewer_says_and_takes_no_time() -> None:
    for said in ({"used": True}, {"edit": "We send it.", "used": True}, {"rejected": True}):
        found = only(served("i", said, held=True))
        assert (found.fate, found.used, found.keystrokes) == ("held", False, 0)
        assert (found.distance, found.handling_s) == (None, None)
    unjudged = only(served("i", held=True))
    assert unjudged.fate == "held"
    rows = [served(f"u{n}", {"used": True}) for n in range(6)]
    rows += [served(f"h{n}", {"used": True}, held=True, version="care@2") for n in range(3)]
    rows += [served(f"k{n}", {"used": True}, version="care@2") for n in range(3)]
    usage = {row.version: row.usage for row in table(answers(rows, "care")) if row.position == ALL}
    assert usage["care@1"] is not None
    assert usage["care@2"] is not None
    assert (usage["care@1"].mean, usage["care@2"].mean) == (1.0, 0.5)


def test_the_text_says_more_than_a_tick() -> None:
    assert only(served("i", {"used": True, "edit": "Goodbye now, friend."})).fate == "rewritten"
    assert only(served("i", {"rejected": True, "edit": "We will send it!"})).fate == "edited"
    assert only(served("i", {"used": True}, {"used": False})).fate == "left"


def test_handling_time_runs_from_the_whole_answer_to_the_first_act() -> None:
    assert only(served("i", {"used": True})).handling_s == 10
    late = served("i", {"rating": 1.0, "at": 103.0}, {"used": True, "at": 131.0})
    assert only(late).handling_s == 30
    twice = served("i", {"used": True, "at": 111.0}, {"edit": "We will send.", "at": 900.0})
    assert only(twice).handling_s == 10
    assert only(served("i", {"used": True, "at": 99.0})).handling_s is None
    assert only(served("i")).handling_s is None


def test_what_no_agent_asked_for_is_left_out() -> None:
    pinned = served("p", {"used": True}, model_requested="care@1")
    aborted = served("a", {"used": True}, status="aborted")
    assert [one.id for one in answers([pinned, aborted, served("k")], "care")] == ["k"]


@pytest.mark.parametrize(
    ("task", "final", "before", "last", "expected"),
    [
        ("suggestion", "We will send it.", 1, 9, "opening"),
        ("suggestion", "Hello, how can I help?", 3, 9, "opening"),
        ("suggestion", "We will send it.", 3, 9, "middle"),
        ("suggestion", "We will send it.", 9, 9, "middle"),
        ("suggestion", "Have a nice day!", 9, 9, "closing"),
        ("suggestion", "You are welcome.", 5, 9, "closing"),
        ("chat", "Thanks for your patience, order 17 is on its way.", 5, 9, "middle"),
        ("summary", "Have a nice day!", 9, 9, "summary"),
    ],
)
def test_position(task: str, final: str, before: int, last: int, expected: str) -> None:
    assert position(task, final, before, last) == expected


def test_without_turn_numbers_the_order_of_the_answers_stands_for_them() -> None:
    rows = [
        served(f"i{n}", conversation_id="c", created_at=float(n), turn_position=None, output=text)
        for n, text in enumerate(["It is sent.", "It is blue.", "It is here.", "Bye."])
    ]
    found = [one.position for one in answers(reversed(rows), "care")]
    assert found == ["opening", "middle", "middle", "closing"]


def test_the_table_of_a_known_case() -> None:
    """Forty middle replies: thirty used after 10 s, ten rewritten after 25 s, ten of no word."""
    rows = [served(f"u{n}", {"used": True}) for n in range(30)]
    rows += [served(f"r{n}", {"edit": "Not at all like that", "at": 126.0}) for n in range(10)]
    rows += [served(f"s{n}") for n in range(10)]
    middle, whole = table(answers(rows, "care"))
    assert (middle.version, middle.position, whole.position) == ("care@1", "middle", ALL)
    assert (middle.shown, middle.judged, middle.conversations) == (50, 40, 50)
    assert middle.fates == {
        "as it was": 30,
        "edited": 0,
        "rewritten": 10,
        "rejected": 0,
        "left": 0,
        "held": 0,
    }
    assert middle.usage is not None
    assert middle.usage.mean == 0.75
    assert middle.usage.low < 0.65 < 0.84 < middle.usage.high
    assert middle.usage_of_shown == 0.6
    assert (middle.used_s, middle.unused_s) == (10, 25)
    assert middle.saved_s is not None
    assert (middle.saved_s.mean, middle.saved_s.low, middle.saved_s.high) == (15, 15, 15)
    assert middle.keystrokes is not None
    assert middle.keystrokes.mean == 12
    assert whole.saved_s == middle.saved_s


def test_rows_are_by_version_in_order_and_then_of_all() -> None:
    rows = [served(f"{v}{n}", version=v) for v in ("care@10", "care@9", "base") for n in range(2)]
    assert [(row.version, row.position) for row in table(answers(rows, "care"))] == [
        (version, where)
        for version in ("base", "care@9", "care@10", ALL)
        for where in ("middle", ALL)
    ]
    assert table([]) == []


def test_silence_leaves_the_figures_empty_and_not_zero() -> None:
    (row, _) = table(answers([served("a"), served("b")], "care"))
    figures = (row.usage, row.distance, row.keystrokes, row.used_s, row.unused_s, row.saved_s)
    assert figures == (None,) * 6
    assert row.judged == 0


SAID = st.sampled_from(
    [(), ({"used": True},), ({"rejected": True},), ({"edit": "We sent it."},), ({"edit": "No"},)]
)


@given(st.lists(st.tuples(SAID, st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=25))
def test_the_table_adds_up(drawn: list[tuple[Any, int, int]]) -> None:
    rows = [
        served(f"i{n}", *said, turn_position=turn, conversation_id=f"c{conversation}")
        for n, (said, turn, conversation) in enumerate(drawn)
    ]
    *parts, whole = table(answers(rows, "care"))
    assert whole.shown == len(rows) == sum(row.shown for row in parts)
    for row in (*parts, whole):
        check(row)
    assert whole.judged == sum(row.judged for row in parts)


def check(row: Row) -> None:
    assert sum(row.fates.values()) == row.judged <= row.shown
    used = row.fates["as it was"] + row.fates["edited"]
    assert row.usage_of_shown == used / row.shown
    if row.usage is not None:
        assert row.usage.mean == pytest.approx(used / row.judged)
        assert row.usage.low <= row.usage.mean <= row.usage.high
