import pytest

from serving.store import candidates
from serving.store.candidates import Candidate
from serving.store.records import FeedbackRecord, Served

CHOICES = [
    {"index": 0, "message": {"content": "zero"}, "finish_reason": "stop"},
    {"index": 1, "message": {"content": "one"}, "finish_reason": "length"},
    {"index": 2, "text": "two", "finish_reason": None},
]


def served(*said: dict[str, object]) -> Served:
    feedback = tuple(
        FeedbackRecord(interaction_id="i", client_key=str(n), created_at=float(n), **one)
        for n, one in enumerate(said)
    )
    return Served(
        id="i",
        created_at=0.0,
        model_requested="care",
        version="base",
        conversation_id=None,
        latency_ms=1.0,
        status="completed",
        output="zero",
        others={1: "one", 2: "two"},
        feedback=feedback,
    )


def test_each_choice_is_a_candidate_by_its_index() -> None:
    assert candidates.of({"choices": CHOICES}) == {
        0: Candidate("zero", "stop"),
        1: Candidate("one", "length"),
        2: Candidate("two", None),
    }


@pytest.mark.parametrize(
    "response", [{}, {"choices": None}, {"choices": ["x"]}, {"choices": [{"index": None}]}]
)
def test_a_response_without_choices_has_no_further_candidate(response, interaction) -> None:
    assert candidates.of(response) == {}
    record = interaction(response=response)
    assert candidates.has(record, 0)
    assert not candidates.has(record, 1)


def test_the_candidate_that_was_used_stands_for_the_answer() -> None:
    given = served({"rejected": True}, {"index": 1, "used": True}, {"index": 2, "rejected": True})
    taken = candidates.as_taken(given)
    assert taken.output == "one"
    assert [f.index for f in taken.feedback] == [1]


def test_a_label_of_another_candidate_labels_not_the_first() -> None:
    taken = candidates.as_taken(served({"index": 1, "rejected": True}))
    assert (taken.output, taken.feedback) == ("zero", ())


def test_what_was_taken_later_is_left_out() -> None:
    given = served({"rejected": True}, {"index": 1, "used": True})
    assert candidates.as_taken(given, until=1.0).output == "zero"
