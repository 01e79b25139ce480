"""What was found is marked where it stands, and the pieces are the text again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.console.marks import marked, spans_of


@pytest.mark.parametrize(
    ("text", "spans", "pieces"),
    [
        ("Ask Acme now", [(4, 8)], [("Ask ", False), ("Acme", True), (" now", False)]),
        ("abcd", [(0, 2), (1, 3)], [("abc", True), ("d", False)]),
        ("abcd", [], [("abcd", False)]),
        ("ab", [(-5, 1), (1, 99)], [("ab", True)]),
        ("ab", [(9, 12)], [("ab", False)]),
        ("", [(0, 3)], []),
    ],
)
def test_pieces_are_cut_where_findings_begin_and_end(
    text: str, spans: list[tuple[int, int]], pieces: list[tuple[str, bool]]
) -> None:
    assert [tuple(one) for one in marked(text, spans)] == pieces


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(-5, 50), st.integers(-5, 50))))
def test_the_pieces_are_the_text_and_take_turns(text: str, spans: list[tuple[int, int]]) -> None:
    pieces = marked(text, spans)
    assert "".join(one.text for one in pieces) == text
    kinds = [one.marked for one in pieces]
    assert all(a is not b for a, b in pairwise(kinds))


def context(*guards: str, choices: int = 1) -> dict[str, object]:
    verdicts = [{"guard": guard, "span": [n, n + 1]} for n, guard in enumerate(guards)]
    return {"response": {"choices": [{}] * choices}, "verdicts": verdicts}


def test_findings_in_the_request_are_not_marked_in_the_answer() -> None:
    shown = context("input.injection", "output.content", "reviews.high_stakes")
    assert spans_of(shown) == [(1, 2), (2, 3)]


def test_of_several_choices_nothing_is_marked() -> None:
    assert spans_of(context("output.content", choices=2)) == []


def test_a_held_request_has_no_answer_to_mark() -> None:
    assert spans_of({"response": None, "verdicts": []}) == []
