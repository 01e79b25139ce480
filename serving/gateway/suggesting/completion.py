"""What follows a draft, to the character, so that draft and completion are one text.

The engine goes on from the draft without the white space at its end, since a token of white space
there would keep the next word's own token away. Where the agent has typed that space, the answer
must begin with one: else it would go on in a word that the agent has ended.
"""

SPACED = r"[ \n][\s\S]*"
"""What an answer must match after a draft that ends in white space. One expression for all
requests, which the engine compiles once."""


def after(answer: str, gap: str) -> str | None:
    """Return what follows a draft as it was typed; None where nothing that fits does.

    Args:
        answer: What the engine wrote after the draft without the white space at its end.
        gap: That white space.
    """
    if gap and not answer[:1].isspace():
        return None
    rest = (answer.lstrip() if gap else answer).rstrip()
    return rest or None
