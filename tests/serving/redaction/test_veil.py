"""What an upstream must not see is hidden, and its answer reads as if it had seen it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.redaction import veil
from serving.redaction.veil import Lifter, Unreadable, Veil

SAID = (
    "My card is 4111 1111 1111 1111 and my mail is jo.doe@mail.com.",
    "Your order number 4471-AB has been sent to jo.doe@mail.com.",
)
VALUES = ("4111 1111 1111 1111", "jo.doe@mail.com", "4471-AB")


def test_no_value_is_left_and_each_comes_back() -> None:
    made = Veil(SAID)
    sent = [made.hide(text) for text in SAID]
    assert [value for value in VALUES if value in " ".join(sent)] == []
    assert [made.lift(text) for text in sent] == list(SAID)


def test_a_value_has_one_surrogate_in_all_texts() -> None:
    made = Veil(SAID)
    first, second = (made.hide(text) for text in SAID)
    mail = first.split()[-1].rstrip(".")
    assert "@" in mail
    assert mail in second


def test_what_the_answer_writes_in_capitals_comes_back() -> None:
    made = Veil(SAID)
    mail = made.hide(SAID[0]).split()[-1].rstrip(".")
    assert made.lift(f"WRITE TO {mail.upper()}!") == "WRITE TO jo.doe@mail.com!"


def test_a_surrogate_within_a_word_is_none() -> None:
    made = Veil(("My PIN is 4471.",))
    pin = made.hide("My PIN is 4471.").split()[-1].rstrip(".")
    assert made.lift(f"x{pin} {pin}7 {pin}") == f"x{pin} {pin}7 4471"


def test_texts_without_values_pass_as_they_are() -> None:
    made = Veil(("Hello there.",))
    assert made.empty
    assert made.hide("Hello there.") == made.lift("Hello there.") == "Hello there."
    assert made.held("Hello the") == 0


@given(st.lists(st.integers(1, 9), max_size=60))
def test_a_stream_says_the_same_however_it_is_cut(cuts: list[int]) -> None:
    made = Veil(SAID)
    answer = " ".join(made.hide(text) for text in SAID) + " Anything else?"
    lifter, at, got = Lifter(made), 0, ""
    for size in cuts:
        got += lifter.feed(answer[at : at + size])
        at += size
    got += lifter.feed(answer[at:]) + lifter.end()
    assert got == " ".join(SAID) + " Anything else?"


def test_a_stream_waits_for_no_more_than_could_be_a_surrogate() -> None:
    made = Veil(SAID)
    lifter = Lifter(made)
    assert lifter.feed("I have looked it up") == "I have looked it up"


def test_texts_are_found_wherever_a_request_has_them() -> None:
    request = {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": "b", "tool_calls": [{"function": {"arguments": "c"}}]},
        ],
        "stop": ["d"],
    }
    assert veil.texts_of(request) == ["a", "b", "c", "d"]
    assert veil.mapped(request, str.upper)["messages"][0]["content"] == [
        {"type": "text", "text": "A"}
    ]


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        {"messages": [{"content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]},
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
    ],
)
def test_what_no_pattern_reads_is_refused(request_: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        veil.texts_of(request_)
