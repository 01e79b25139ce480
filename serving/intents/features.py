"""What a classifier of intents reads of a conversation: its customer's words, weighed.

Training and serving use these same functions, so that both see the same text in the same way.
Personal values are what they are (`[ORDER]`) before a word is read; digits are never one.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from serving.redaction.recognition import mark

CHARACTERS = 4_000
"""Of a conversation's customer that are read: why somebody came is said early."""
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")

Floats = npt.NDArray[np.float32]


def text_of(turns: Sequence[str]) -> str:
    """Return what is read of the customer's turns, without personal values."""
    return mark(["\n".join(turns)[:CHARACTERS]]).texts[0]


def terms(text: str) -> list[str]:
    """Return a text's words in small letters, and each two that stand beside each other."""
    words = [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]
    return words + [f"{one} {other}" for one, other in pairwise(words)]


def weighed(
    found: Sequence[str], vocabulary: Mapping[str, int], idf: Floats
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return TF-IDF: the places of the known terms, and their weights as a vector of length 1.

    `(1 + log(count)) * idf`: Manning, Raghavan and Schütze, "Introduction to Information
    Retrieval", 2008, section 6.4; as scikit-learn's TfidfVectorizer with `sublinear_tf`.

    Args:
        found: A text's terms.
        vocabulary: Each known term's place.
        idf: (terms,) by place.
    """
    counts = Counter(place for term in found if (place := vocabulary.get(term)) is not None)
    places = np.fromiter(counts, np.intp, len(counts))
    times = np.fromiter((1 + math.log(n) for n in counts.values()), np.float32, len(counts))
    values: Floats = times * idf[places]
    length = float(np.linalg.norm(values))
    return places, values / np.float32(length) if length else values
