import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guards.claims.check import check
from serving.guards.claims.judging import messages, upheld
from serving.guards.verdict import GuardContext

CONTEXT = GuardContext(conversation=(("customer", "Where is my parcel?"),), knowledge=("Ask Jo.",))
TEXT = "It comes on Friday, Dana. That is $5."
FOUND = check(TEXT, CONTEXT)


def test_a_judge_is_asked_about_each_finding_with_the_sources() -> None:
    system, user = messages(TEXT, FOUND, CONTEXT, mark="FENCE")
    assert [system["role"], user["role"]] == ["system", "user"]
    assert "FENCE" in system["content"]
    assert user["content"].startswith("FENCE\n")
    assert user["content"].endswith("\nFENCE")
    for expected in (
        "Where is my parcel?",
        "Ask Jo.",
        TEXT,
        '1. (date) "Friday"',
        '3. (amount) "$5"',
    ):
        assert expected in user["content"]


def test_the_fence_is_drawn_anew_and_no_text_may_hold_it() -> None:
    first, second = (messages(TEXT, FOUND, CONTEXT)[1]["content"].split("\n")[0] for _ in range(2))
    assert first != second
    with pytest.raises(ValueError, match="mark"):
        messages(TEXT, FOUND, CONTEXT, mark="parcel")


def test_nothing_is_asked_without_a_finding() -> None:
    with pytest.raises(ValueError, match="no finding"):
        messages(TEXT, [], CONTEXT)


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ('{"1": "supported", "2": "unsupported", "3": "contradicted"}', ["name", "amount"]),
        ('Sure:\n```json\n{"1": "Supported", "3": "supported"}\n```', ["name"]),
        ('{"9": "supported"}', ["date", "name", "amount"]),
        ('{"1": true, "2": ["supported"], "3": "fine"}', ["date", "name", "amount"]),
        ("All are supported.", ["date", "name", "amount"]),
        ('["supported"]', ["date", "name", "amount"]),
        ("", ["date", "name", "amount"]),
    ],
)
def test_only_what_the_judge_calls_supported_is_cleared(answer: str, left: list[str]) -> None:
    assert [finding.kind for finding in upheld(answer, FOUND)] == left


@given(st.text(max_size=80))
def test_no_answer_is_an_error(answer: str) -> None:
    assert set(upheld(answer, FOUND)) <= set(FOUND)


def test_a_deeply_nested_answer_clears_nothing() -> None:
    assert upheld('{"1":' * 5_000 + "}" * 5_000, FOUND) == FOUND
