import pytest
from figures import figures, keystrokes_saved, summarize


@pytest.mark.parametrize(
    ("shown", "final", "expected"),
    [
        ("Goodbye for now.", "Goodbye for now.", 1 - 1 / 16),
        ("Goodbye  for now", "Goodbye for now.", 1 - 2 / 16),
        ("Something else entirely", "Bye.", 0.0),
        ("", "Bye.", 0.0),
        ("Bye.", "", 0.0),
    ],
)
def test_a_suggestion_saves_what_inserting_and_mending_it_costs_less_than_typing(
    shown: str, final: str, expected: float
) -> None:
    assert keystrokes_saved(shown, final) == pytest.approx(expected)


def test_a_fact_that_was_looked_up_is_supported_and_another_is_not() -> None:
    seen = ["Which hotel is it?", "Name: Old Inn; Price: 72"]
    assert figures("It is the Old Inn for 72.", "x", seen)["unsupported_facts"] == 0
    assert figures("It is the New Inn for 71.", "x", seen)["unsupported_facts"] == 2


def test_arms_are_compared_reply_by_reply_and_conversations_resampled_whole() -> None:
    good, bad = figures("Bye now.", "Bye now.", []), figures("No.", "Bye now.", [])
    conversations = ["a", "a", "b", "b", "c", "c"]
    found = summarize({"base": [bad] * 6, "sft": [good, bad] * 3}, conversations, "base")
    assert found["sft"]["means"]["exact_picks"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert found["sft"]["less_base"]["exact_picks"]["mean"] == 0.5
    assert found["base"]["less_base"] == {}
