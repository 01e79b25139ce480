"""Overlap of an output with the agent's text: ROUGE-L by words, chrF by characters.

Both are short and fixed by their papers; the libraries that compute them bring what nothing here
needs (sacrebleu: lxml; rouge-score: nltk). Tests hold them to those libraries' values.
"""

import re
from collections import Counter

from rapidfuzz.distance import LCSseq

CHRF_ORDER = 6
CHRF_BETA = 2.0
_WORD = re.compile(r"\w+")


def rouge_l(output: str, final: str) -> float:
    """Return ROUGE-L's F1: the longest common subsequence of words (Lin 2004), 0 to 1.

    Words are runs of letters and digits, case aside; nothing is stemmed. Two texts without words
    are alike.

    Args:
        output: What the model wrote.
        final: What the agent sent.
    """
    ours, theirs = _WORD.findall(output.lower()), _WORD.findall(final.lower())
    if not ours or not theirs:
        return float(ours == theirs)
    common = LCSseq.similarity(ours, theirs)
    return 2 * common / (len(ours) + len(theirs))


def chrf(output: str, final: str) -> float:
    """Return chrF2 (Popović 2015), 0 to 1: character n-grams of order 1 to 6, recall twice.

    As sacrebleu computes a sentence's: white space is left out, precision and recall are averaged
    over the orders that both texts have. Two texts without characters are alike.

    Args:
        output: What the model wrote.
        final: What the agent sent.
    """
    ours, theirs = "".join(output.split()), "".join(final.split())
    if not ours or not theirs:
        return float(ours == theirs)
    precisions, recalls = [], []
    for order in range(1, min(CHRF_ORDER, len(ours), len(theirs)) + 1):
        a, b = _grams(ours, order), _grams(theirs, order)
        common = (a & b).total()
        precisions.append(common / a.total())
        recalls.append(common / b.total())
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    if precision + recall == 0:
        return 0.0
    factor = CHRF_BETA**2
    return (1 + factor) * precision * recall / (factor * precision + recall)


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))
