import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guards.claims.sentences import complete, sentences

PROSE = st.lists(
    st.sampled_from(
        ["Mr.", "a.m.", "no", "5.", "We", "Ok!", "3.5", "\n", " ", "J.", 'it."', "x", "?"]
    )
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello. How are you?", ["Hello.", "How are you?"]),
        ("Mr. Smith called. Dr. Lee did not.", ["Mr. Smith called.", "Dr. Lee did not."]),
        ("At 5 p.m. we call.", ["At 5 p.m. we call."]),
        ("At 5 p.m. We call.", ["At 5 p.m.", "We call."]),
        ("It costs $3.50. Yes!", ["It costs $3.50.", "Yes!"]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("1. Open it.\n2. Close it.", ["1. Open it.", "2. Close it."]),
        ("for 200\n that takes", ["for 200\n that takes"]),
        ("Name: Ann\nCity: Rome", ["Name: Ann", "City: Rome"]),
        ("Wait... Now.", ["Wait...", "Now."]),
        ("e.g. this, J. Doe", ["e.g. this, J. Doe"]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_a_text_splits_where_a_reader_would(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(st.one_of(PROSE, st.text(max_size=60)))
def test_sentences_cover_the_text_in_order(text: str) -> None:
    spans = sentences(text)
    assert "".join(text[slice(*s)] for s in spans).split() == text.split() or len(spans) > 1
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@given(st.one_of(PROSE, st.text(max_size=60)), st.one_of(PROSE, st.text(max_size=30)))
def test_what_is_complete_stays_whatever_follows(text: str, more: str) -> None:
    whole = complete(text)
    assert 0 <= whole <= len(text)
    before = [s for s in sentences(text) if s[1] <= whole]
    assert [s for s in sentences(text + more) if s[0] < whole] == before


def test_only_an_ended_sentence_is_complete() -> None:
    assert complete("We call you") == 0
    assert complete("We call you. ") == 0  # an abbreviation may still go on
    assert complete("We call you. A") == len("We call you. ")


@pytest.mark.parametrize("piece", [".", "\n", ". ", "! \n", "a.m. ", '."'])
def test_the_time_is_linear(piece: str) -> None:
    def seconds(times: int) -> float:
        began = time.process_time()
        sentences(piece * times + "x")
        sentences(piece * times)
        return time.process_time() - began

    short = min(seconds(2_000) for _ in range(3))
    assert min(seconds(16_000) for _ in range(2)) < 30 * short + 0.05
