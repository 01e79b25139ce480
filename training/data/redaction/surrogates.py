"""Personal numbers out of a text before it enters a dataset.

They become surrogates: other values of the same shape, so that what is learned and judged looks
like what is served, where nobody writes `[ORDER]` (Carrell et al., "Hiding in plain sight", JAMIA
20, 2013). A value has the same surrogate in all texts of one example, so a model that must repeat
an order number from the conversation learns to copy it, not to invent one. A surrogate is drawn
from the text around the values, never from a value, so nothing leads back from it.
"""

import hashlib
from collections.abc import Sequence

from training.data.redaction.recognition import Kind, Redacted, keys_of, locate, mark, replaced

VERSION = 2
"""Raised with every change that makes other texts from the same ones."""

_ATTEMPTS = 100


def redact(texts: Sequence[str]) -> Redacted:
    """Replace the personal numbers in texts that belong together by surrogates.

    Args:
        texts: All texts of one example: its messages, the target, the shown output.
    """
    kinds, places = locate(texts)
    if not kinds:
        return Redacted(tuple(texts), {})
    return replaced(texts, kinds, places, _surrogates(keys_of(places), kinds, mark(texts).texts))


def _surrogates(
    keys: Sequence[str], kinds: dict[str, Kind], around: Sequence[str]
) -> dict[str, str]:
    """Draw a value of its shape for each key, none of which is another value of these texts."""
    seed = "\0".join(around).encode("utf-8", "replace")
    made: dict[str, str] = {}
    for number, key in enumerate(keys):
        attempt, drawn = 0, key
        while drawn in kinds or drawn in made.values():
            digest = hashlib.shake_256(b"%d %d " % (number, attempt) + seed)
            drawn = "".join(map(_like, key, digest.digest(len(key))))
            if kinds[key] is Kind.EMAIL:
                drawn = f"{drawn.partition('@')[0]}@example.com"
            attempt += 1
            if attempt > _ATTEMPTS:  # a value so short that all others are taken
                break
        made[key] = drawn
    return made


def _like(character: str, chance: int) -> str:
    """Return another character of the same class; a number's leading zero or not stays."""
    if character.isdigit():
        return character if character == "0" else str(1 + chance % 9)
    if character.isalpha():
        letter = chr(ord("A") + chance % 26)
        return letter if character.isupper() else letter.lower()
    return character
