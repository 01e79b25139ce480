"""Which rule a message meets, and what it says then: pure, in bounded time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from serving.config.guards import compiled
from serving.config.rules import SLOT, Rule

TIMEOUT_S = 0.05
"""Of one pattern on one message; the event loop waits meanwhile."""
SLOT_LIMIT = 200
"""Characters of a slot that an answer repeats."""
READ_LIMIT = 4000
"""Characters of a message that are read; what is longer is no question with a fixed answer."""


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that a message meets, and the slots that its pattern filled."""

    rule: Rule
    slots: Mapping[str, str]


def first(rules: Sequence[Rule], task: str, said: str) -> Match | None:
    """Return the first rule that a message meets.

    Args:
        rules: In the order in which they are tried.
        task: `suggestion` or `chat`.
        said: The customer's last message.

    Raises:
        TimeoutError: A pattern took longer than `TIMEOUT_S`.
    """
    if not said or len(said) > READ_LIMIT:
        return None
    for rule in rules:
        if task not in rule.tasks:
            continue
        for pattern in rule.patterns:
            if hit := _compiled(pattern).search(said, timeout=TIMEOUT_S):
                return Match(rule, {k: _slot(v) for k, v in hit.groupdict().items() if v})
    return None


def fill(answer: str, slots: Mapping[str, str]) -> str | None:
    """Return an answer with its slots filled; None where one is missing.

    What is filled in is text: braces in it are no slots.
    """
    if not set(SLOT.findall(answer)) <= slots.keys():
        return None
    return SLOT.sub(lambda found: slots[found[1]], answer)


def _slot(value: str) -> str:
    return " ".join(value.split())[:SLOT_LIMIT]


@lru_cache(1024)
def _compiled(pattern: str) -> "regex.Pattern[str]":
    return compiled(pattern)
