"""What follows a draft, to the character."""

import re

import pytest

from serving.gateway.suggesting.completion import SPACED, after


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
    assert after(answer, gap) == rest


def test_what_the_engine_may_write_after_white_space_begins_with_some() -> None:
    assert re.fullmatch(SPACED, " sorry\nfor this") is not None
    assert re.fullmatch(SPACED, "ber") is None
