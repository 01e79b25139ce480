"""Where findings stand in a text, as pieces that a page marks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

OF_ANSWERS = ("output.", "reviews.")
"""How guards of answers are called; the offsets of other guards' findings are of other texts."""


class Piece(NamedTuple):
    """A run of a text, and whether something was found there."""

    text: str
    marked: bool


def marked(text: str, spans: Iterable[tuple[int, int]]) -> list[Piece]:
    """Cut a text where findings begin and end.

    Args:
        text: The text.
        spans: Offsets of a finding's first character and of the one after its last; they may
            overlap, and what lies outside the text is left out.

    Returns:
        The pieces, in order: joined they are the text.
    """
    inside = [False] * len(text)
    for start, end in spans:
        for place in range(max(0, start), min(end, len(text))):
            inside[place] = True
    pieces: list[Piece] = []
    begun = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or inside[place] is not inside[begun]:
            pieces.append(Piece(text[begun:place], inside[begun]))
            begun = place
    return pieces


def spans_of(context: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return where in a held answer something was found.

    Of several choices it is not known in which one a finding stands: then there is none.

    Args:
        context: What a review task shows.
    """
    choices: Sequence[Any] = (context.get("response") or {}).get("choices") or ()
    if len(choices) > 1:
        return []
    return [
        (found["span"][0], found["span"][1])
        for found in context["verdicts"]
        if found["guard"].startswith(OF_ANSWERS)
    ]
