from typing import Any

import pytest

from serving.store.records import ABSTAINED
from tests.training.records import labelled
from training.monitoring import rules
from training.monitoring.rules import Answer

WINDOW_S = 10_000.0


def read(*said: dict[str, Any], **fields: Any) -> Answer:
    content = {"output": "Your parcel arrives on Tuesday.", "prompt": "Tuesday, they said."}
    found = rules.read(labelled("i", *said, **{**content, **fields}), WINDOW_S)
    assert found is not None
    return found


def test_an_answer_without_a_fault_is_good_until_somebody_says_otherwise() -> None:
    found = read()
    assert found.found == {
        "silent": 0.0,
        "refusals": 0.0,
        "format_errors": 0.0,
        "unsupported_facts": 0.0,
    }
    assert (found.grade, found.characters, found.conversation) == (1.0, 31, "c-i")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"output": "It arrives on Friday."}, "unsupported_facts"),
        ({"output": "I'm sorry, but I can't help with that."}, "refusals"),
        (
            {"output": "no object", "request": {"response_format": {"type": "json_object"}}},
            "format_errors",
        ),
    ],
)
def test_each_fault_makes_it_bad_though_it_was_used(fields: dict[str, Any], fault: str) -> None:
    found = read({"used": True}, **fields)
    assert found.found[fault] == 1.0
    assert sum(found.found[name] for name in rules.FAULTS) == 1.0
    assert found.grade == 0.0


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"used": True}, 1.0),
        ({"rejected": True}, 0.0),
        ({"edit": "Your parcel arrives on Tuesday!"}, pytest.approx(30 / 31)),
        ({"rating": 0.2}, None),
    ],
)
def test_what_an_agent_kept_is_the_grade_where_it_is_known(
    said: dict[str, Any], kept: float | None
) -> None:
    found = read(said)
    assert found.found.get("edit_similarity") == kept
    assert found.grade == (1.0 if kept is None else kept)


def test_silence_is_counted_and_cannot_be_graded() -> None:
    for fields in ({"output": " "}, {"output": "", "finish_reason": ABSTAINED}):
        found = read(**fields)
        assert found.found == {"silent": 1.0}
        assert (found.grade, found.characters) == (None, None)


def test_the_candidate_that_was_taken_is_read() -> None:
    choices = [
        {"index": 0, "message": {"content": "It arrives on Friday."}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "On Tuesday."}, "finish_reason": "stop"},
    ]
    fields = {"output": "It arrives on Friday.", "response": {"choices": choices}}
    assert read({"used": True, "index": 1}, **fields).grade == 1.0
    assert read({"rejected": True, "index": 1}, **fields).grade == 0.0


def test_feedback_after_the_window_changes_nothing() -> None:
    item = labelled("i", {"rejected": True}, output="Hello.")  # a thousand seconds later
    late, early = rules.read(item, 500.0), rules.read(item, 1500.0)
    assert late is not None
    assert early is not None
    assert (late.grade, early.grade) == (1.0, 0.0)


def test_what_nobody_was_shown_tells_nothing_of_what_was_kept() -> None:
    assert "edit_similarity" not in read({"edit": "Mine."}, shown_by_draw=False).found


@pytest.mark.parametrize(
    "fields",
    [{"status": "aborted"}, {"model_requested": "care@1"}, {"task": "insight"}],
)
def test_what_is_no_production_does_not_count(fields: dict[str, Any]) -> None:
    assert rules.read(labelled("i", **fields), WINDOW_S) is None


def test_a_conversation_with_more_than_text_has_no_facts_to_check() -> None:
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
    assert "unsupported_facts" not in read(messages=image).found
