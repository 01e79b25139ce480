"""What one output is worth, beside the text that the agent sent and the conversation it answers.

Each metric is a pure function of texts; `METRICS` says which way each is better. The gate compares
their means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Metric:
    """A metric's name for people, and which way is better."""

    title: str
    better: Literal["higher", "lower"]


METRICS = {
    "edit_similarity": Metric("Edit similarity", "higher"),
    "length_deviation": Metric("Length deviation", "lower"),
    "unsupported_facts": Metric("Unsupported facts", "lower"),
}

COUNTS = ("unsupported_facts",)
"""Metrics that count what should not be there, so that a rate of any at all makes sense."""


def edit_similarity(output: str, final: str) -> float:
    """Return how little of the output had to change: 1 - distance / longer length.

    The distance is Levenshtein's, in characters: insertions, deletions, substitutions. Texts are
    stripped and runs of white space count as one space, which no agent edits.

    Args:
        output: What the model wrote.
        final: What the agent sent.

    Returns:
        0 (nothing kept) to 1 (sent as it was).
    """
    return float(Levenshtein.normalized_similarity(_plain(output), _plain(final)))


def length_deviation(output: str, final: str) -> float:
    """Return how far the length is off, as a share of the agent's: |ratio - 1|, in characters.

    Args:
        output: What the model wrote.
        final: What the agent sent.
    """
    return abs(length_ratio(output, final) - 1)


def length_ratio(output: str, final: str) -> float:
    """Return the output's length over the agent's, in characters."""
    return len(_plain(output)) / max(1, len(_plain(final)))


_MONTHS = "january february march april may june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_SHORT = {name[:3]: name for name in (*_DAYS.split(), *_MONTHS.split())} | {"sept": "september"}
_DATES = {*_DAYS.split(), *_MONTHS.split()} - {"may", "march"}  # also verbs: only with a capital
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_WORDS.split())}
_TOKEN = re.compile(r"\[[A-Z]+(?:_\d+)?\]|\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n\"“”(\[*•>|-])[\s*_\"“”(\[•>|-]*$")
_PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_\d+)?\]")


def unsupported_facts(output: str, conversation: Iterable[str]) -> list[str]:
    """Return the facts in an output that the conversation does not hold.

    A fact is a number, amount or time, a weekday or month, a redaction placeholder, or a name: a
    capitalised word that does not begin a sentence. This is a screen, not a judge: it needs no
    model, misses facts in plain words, and counts a fact once however often it is said.

    Args:
        output: What the model wrote.
        conversation: All texts that the model saw.
    """
    known: set[str] = set()
    for text in conversation:
        known.update(_normal(token) for token in _TOKEN.findall(text))
    known |= {part for token in known for part in re.split(r"['\u2019-]", token)}
    known |= {_NUMBER_WORDS[token] for token in known & _NUMBER_WORDS.keys()}
    facts: dict[str, str] = {}
    for match in _TOKEN.finditer(output):
        token = match[0]
        normal = _normal(token)
        if _is_fact(token, normal, output[max(0, match.start() - 8) : match.start()]):
            facts.setdefault(normal, token)
    return [token for normal, token in facts.items() if normal not in known]


def score(output: str, final: str, conversation: Iterable[str]) -> dict[str, float]:
    """Return all metrics of one output by name.

    Args:
        output: What the model wrote.
        final: What the agent sent.
        conversation: All texts that the model saw.
    """
    return {
        "edit_similarity": edit_similarity(output, final),
        "length_deviation": length_deviation(output, final),
        "unsupported_facts": float(len(unsupported_facts(output, conversation))),
    }


def _is_fact(token: str, normal: str, before: str) -> bool:
    if token[0].isdigit() or _PLACEHOLDER.fullmatch(token):
        return True
    if normal in _DATES:
        return True
    if not token[0].isupper() or token in {"I", "OK"} or token.startswith(("I'", "I\u2019")):
        return False
    return _SENTENCE_START.search(before) is None


def _normal(token: str) -> str:
    """Return one spelling for what means the same: 1,000.00 and 1000, Tue and Tuesday."""
    if token[0].isdigit():
        plain = re.sub(r",(?=\d{3}(?!\d))", "", token)
        return re.sub(r"\.0+$", "", plain)
    lower = token.lower().replace("\u2019", "'").removesuffix("'s")
    return _SHORT.get(lower, lower)


def _plain(text: str) -> str:
    return " ".join(text.split())
