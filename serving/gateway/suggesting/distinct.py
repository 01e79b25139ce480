"""Whether two candidates say the same, as far as their words tell.

Two texts are alike if their words are mostly the same (Sørensen and Dice's coefficient of the two
bags of words, twice what they share by what they hold), and their numbers and negations are the
same: "can refund" and "cannot refund" differ in one word, and say opposite things.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

Alike = Callable[[str, str], bool]
"""Whether two texts say the same."""

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+")
_SHORT = (
    (re.compile(r"\b(?:can't|cannot)\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'m\b"), " am"),
)
_NEGATIONS = frozenset({"not", "no", "never", "nor", "neither", "nothing", "none", "without"})


def words(text: str) -> list[str]:
    """Return a text's words in one spelling: small, short forms written out, marks left out."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    for short, long in _SHORT:
        plain = short.sub(long, plain)
    return _WORD.findall(plain)


def similarity(first: str, second: str) -> float:
    """Return how much of their words two texts share, 0 to 1; two without a word share all."""
    one, two = Counter(words(first)), Counter(words(second))
    both = one.total() + two.total()
    return 2 * (one & two).total() / both if both else 1.0


def by_words(least: float) -> Alike:
    """Return what calls texts alike that share so much of their words.

    Args:
        least: Of `similarity`; above 1 only equal words are alike.
    """

    def alike(first: str, second: str) -> bool:
        return _must_agree(first) == _must_agree(second) and (
            words(first) == words(second) or similarity(first, second) >= least
        )

    return alike


def distinct(texts: Sequence[str], limit: int, alike: Alike) -> list[int]:
    """Return which texts to keep: each that is like none kept before it.

    Args:
        texts: The best first.
        limit: How many to keep at most.
        alike: Whether two say the same; an embedding's word may stand here.
    """
    kept: list[int] = []
    for place, text in enumerate(texts):
        if len(kept) == limit:
            break
        if not any(alike(text, texts[other]) for other in kept):
            kept.append(place)
    return kept


def _must_agree(text: str) -> Counter[str]:
    return Counter(word for word in words(text) if word[0].isdigit() or word in _NEGATIONS)
