"""What a suggestion is worth to the agent who sent the real reply, and its intervals.

Pure: texts in, figures out. Conversations are resampled whole (`training/stats/bootstrap.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from training.metrics.facts import unsupported_facts
from training.metrics.overlap import chrf
from training.metrics.text import edit_similarity
from training.stats import bootstrap
from training.stats.bootstrap import Interval

FIGURES = ("edit_similarity", "exact_picks", "keystrokes_saved", "chrf", "unsupported_facts")


def keystrokes_saved(shown: str, final: str) -> float:
    """Return the share of keystrokes that a suggestion saves: 0 (none) to nearly 1.

    Typing costs a keystroke a character. Taking the suggestion costs one, and one for each
    character put in, taken out or changed (Levenshtein). The agent does what costs less.
    """
    shown, final = " ".join(shown.split()), " ".join(final.split())
    typed = len(final)
    if not typed:
        return 0.0
    return 1 - min(typed, 1 + Levenshtein.distance(shown, final)) / typed


def figures(shown: str, final: str, seen: Iterable[str]) -> dict[str, float]:
    """Return all figures of one suggestion.

    Args:
        shown: The suggestion.
        final: What the agent really sent.
        seen: All texts of the conversation before it, look-ups included.
    """
    return {
        "edit_similarity": edit_similarity(shown, final),
        "exact_picks": float(" ".join(shown.split()) == " ".join(final.split())),
        "keystrokes_saved": keystrokes_saved(shown, final),
        "chrf": chrf(shown, final),
        "unsupported_facts": float(len(unsupported_facts(shown, seen))),
    }


def summarize(
    arms: Mapping[str, Sequence[Mapping[str, float]]],
    conversations: Sequence[str],
    reference: str,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return each arm's means and its differences to one of them, with 95 % intervals.

    Args:
        arms: Name to the (replies,) figures of its suggestions.
        conversations: (replies,) conversation of each.
        reference: The arm that the others are compared with, reply by reply.
        seed: Of the resampling.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, rows in arms.items():
        means, differences = {}, {}
        for figure in FIGURES:
            mine = [row[figure] for row in rows]
            theirs = [row[figure] for row in arms[reference]]
            means[figure] = _plain(bootstrap.mean(mine, groups=conversations, seed=seed))
            if name != reference:
                gap = bootstrap.paired(mine, theirs, groups=conversations, seed=seed)
                differences[figure] = _plain(gap)
        found[name] = {"means": means, f"less_{reference}": differences}
    return found


def _plain(interval: Interval) -> dict[str, float]:
    return {key: round(getattr(interval, key), 4) for key in ("mean", "low", "high")}
