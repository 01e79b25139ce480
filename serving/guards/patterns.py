"""A line's own words and regular expressions, sought in a text in bounded time."""

from collections.abc import Sequence
from functools import lru_cache

import regex

from serving.config.guards import compiled
from serving.guards.verdict import Finding

TIMEOUT_S = 0.05
"""Of one pattern on one text; the event loop waits meanwhile."""


class Patterns:
    """Finds what matches any of some patterns.

    Args:
        kind: What it is then.
        patterns: Regular expressions, as the configuration has checked them.
    """

    def __init__(self, kind: str, patterns: Sequence[str]) -> None:
        self._kind = kind
        self._patterns = [compiled(pattern) for pattern in patterns]

    @classmethod
    def of_words(cls, kind: str, words: Sequence[str]) -> "Patterns":
        """Find whole words or names; a space in one is any white space."""
        spelt = (r"\s".join(map(regex.escape, word.split())) for word in words)
        either = "|".join(sorted(spelt, key=lambda one: (-len(one), one)))
        return cls(kind, [rf"(?<!\w)(?:{either})(?!\w)"] if words else [])

    def __call__(self, text: str) -> list[Finding]:
        """Return the first match of each pattern.

        Args:
            text: Canonical.

        Raises:
            TimeoutError: A pattern took longer than `TIMEOUT_S`.
        """
        found = []
        for number, pattern in enumerate(self._patterns, 1):
            if hit := pattern.search(text, timeout=TIMEOUT_S):
                reason = f"It matches the line's {self._kind.replace('_', ' ')} list ({number})."
                found.append(Finding(self._kind, 1.0, hit.span(), reason))
        return found


@lru_cache(256)
def patterns(kind: str, of: tuple[str, ...], *, words: bool = False) -> Patterns:
    """Return patterns compiled once, as their first use in a process is slow."""
    return Patterns.of_words(kind, of) if words else Patterns(kind, of)
