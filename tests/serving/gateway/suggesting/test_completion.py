"""What follows a draft, to the character."""

import re

import pytest

from serving.gateway.suggesting.completion import SPACED, after, whole


@pytest.mark.parametrize(
    ("answer", "gap", "rest"),
    [
        (" sorry for this", "", " sorry for this"),
        ("ry for this", "", "ry for this"),
        (" sorry for this. ", "", " sorry for this."),
        (" sorry", " ", "sorry"),
        ("  sorry", " ", "sorry"),
        ("\nsorry", "\n", "sorry"),
        ("ber", " ", None),
        ("", " ", None),
        ("", "", None),
        (" \n", "", None),
        (" ", " ", None),
    ],
)
def test_a_completion_follows_the_draft_as_it_was_typed(
    answer: str, gap: str, rest: str | None
) -> None:
    assert after(whole(answer, cut=False), gap) == rest


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("rry for the inconv", "rry for the"),
        (" sorry for the ", " sorry for the"),
        ("rry", "rry"),
        (" sor", " sor"),
        (" a\n b", " a"),
        ("", ""),
    ],
)
def test_a_word_that_was_cut_is_left_out_if_others_stand_before_it(answer: str, kept: str) -> None:
    assert whole(answer, cut=True) == kept
    assert whole(answer, cut=False) == answer.rstrip()


def test_what_the_engine_may_write_after_white_space_begins_with_some() -> None:
    assert re.fullmatch(SPACED, " sorry\nfor this") is not None
    assert re.fullmatch(SPACED, "ber") is None
