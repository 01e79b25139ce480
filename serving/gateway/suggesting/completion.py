"""What follows a draft, to the character, so that draft and completion are one text.

The engine goes on from the draft without the white space at its end, since a token of white space
there would keep the next word's own token away. Where the agent has typed that space, the answer
must begin with one: else it would go on in a word that the agent has ended.
"""

import re

_LAST_WORD = re.compile(r"\s+\S+$")
SPACED = r"[ \n][\s\S]*"
"""What an answer must match after a draft that ends in white space. One expression for all
requests, which the engine compiles once."""


def whole(answer: str, *, cut: bool) -> str:
    """Return what the engine wrote without white space at its end, nor a word that was cut.

    Args:
        answer: What it wrote.
        cut: Whether it had to stop. Its last word may be a part of one, and goes if it is not all.
    """
    text = answer.rstrip()
    if cut and text == answer:
        before = _LAST_WORD.sub("", text)
        text = before if before.strip() else text
    return text


def after(answer: str, gap: str) -> str | None:
    """Return what follows a draft as it was typed; None where nothing that fits does.

    Args:
        answer: What follows the draft without the white space at its end, as `whole` gives it.
        gap: That white space.
    """
    if gap and not answer[:1].isspace():
        return None
    return (answer.lstrip() if gap else answer) or None
