"""Whether a judge says what people say, so that nobody trusts it blindly.

Feedback tells which of two texts a person prefers: an edit over what was shown, and a text rated
highly over one that was rejected for the same prompt. The judge is asked about the same pairs.

- Agreement: among the conversations that the judge decides, the share on which it sides with
  people; half is chance (setup S2 of Zheng et al. 2023, arXiv:2306.05685, by conversation).
- Cohen's kappa (Educational and Psychological Measurement 20, 1960): agreement beyond chance, where
  the judge's ties count as disagreement. Which text is called A is arbitrary, so each pair is
  counted both ways round; then the naming changes nothing.

A judge whose agreement may be chance is called that in the report, and never decides in a gate.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import preferences
from training.data.examples import Example, Message
from training.evaluation import verdicts
from training.evaluation.judge import Pair
from training.evaluation.verdicts import Tally, Verdict
from training.recipe.recipe import EvaluationConfig
from training.stats import bootstrap
from training.stats.bootstrap import Interval

CHANCE = 0.5


@dataclass(frozen=True)
class Agreement:
    """How a judge's verdicts compare with people's.

    Args:
        share: Share of the decided conversations on which both agree, Wilson's interval; None if
            the judge decided none.
        kappa: Cohen's kappa, bootstrap interval over conversations; None for fewer than two.
        by_task: The share, task by task.
        tally: The verdicts; a win is the text that people prefer.
    """

    share: Interval | None
    kappa: Interval | None
    by_task: dict[str, Interval | None]
    tally: Tally

    @property
    def trusted(self) -> bool:
        """Whether the agreement is shown to be more than chance."""
        return self.share is not None and self.share.low > CHANCE

    @property
    def words(self) -> str:
        """What to think of the judge, in plain words."""
        if not self.tally.pairs:
            return (
                "Do not trust this judge: no feedback tells which of two texts people prefer, so "
                "it was compared with nobody."
            )
        if self.share is None:
            return (
                f"Do not trust this judge: on {_pairs(self.tally.pairs)} that people decided, it "
                "decided nothing. Its answers were ties, flipped with the order, or malformed."
            )
        said = (
            f"it sides with people in {self.share.mean:.0%} of the {self.share.count} conversations"
            f" that it decides, {self.share.confidence:.0%} interval {self.share.low:.0%} to "
            f"{self.share.high:.0%}"
        )
        if self.trusted:
            return f"Better than chance: {said}."
        if self.share.high < CHANCE:
            return f"Do not trust this judge: {said}. It contradicts people."
        return f"Do not trust this judge: {said}. That may be chance."

    def as_json(self) -> dict[str, Any]:
        """Return the figures as the registry keeps them."""
        return {**asdict(self), "trusted": self.trusted, "words": self.words}


def human_pairs(examples: Sequence[Example], limit: int) -> list[Pair]:
    """Return pairs of texts that people decided; left is the one that they prefer.

    Args:
        examples: Feedback of any kind, also rejections.
        limit: Most pairs; conversations take turns, so that few pairs cover many of them.
    """
    by_id = {example.interaction_id: example for example in examples}
    found = [
        _pair(by_id[row["interaction_id"]], row["chosen"][0]["content"], _text(row["rejected"]))
        for row in preferences.pairs(examples)
    ]
    found += _rated(examples)
    return _spread(found, limit)


def compare(pairs: Sequence[Pair], found: Sequence[Verdict], rules: EvaluationConfig) -> Agreement:
    """Compare a judge's verdicts with people's.

    Args:
        pairs: Pairs of which people prefer left.
        found: (pairs,) the judge's verdicts.
        rules: Resamples, confidence and seed of the intervals.
    """
    conversations = [pair.conversation_id for pair in pairs]
    whole = verdicts.tally(found, conversations, confidence=rules.confidence)
    by_task = {}
    for task in sorted({pair.task for pair in pairs}):
        chosen = [n for n, pair in enumerate(pairs) if pair.task == task]
        by_task[task] = verdicts.tally(
            [found[n] for n in chosen],
            [conversations[n] for n in chosen],
            confidence=rules.confidence,
        ).win_rate
    return Agreement(whole.win_rate, _kappa(conversations, found, rules), by_task, whole)


def kappa(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Cohen's kappa of contingency tables; 0 where chance alone would agree always.

    Args:
        tables: (n, k, k) counts, one rater's categories down, the other's across.
    """
    total = np.maximum(tables.sum(axis=(1, 2)), 1)
    observed = np.trace(tables, axis1=1, axis2=2) / total
    expected = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1) / total**2
    room = 1 - expected
    return np.asarray(np.where(room > 0, (observed - expected) / np.where(room > 0, room, 1), 0.0))


def _kappa(
    conversations: Sequence[str], found: Sequence[Verdict], rules: EvaluationConfig
) -> Interval | None:
    tables: dict[str, NDArray[np.float64]] = {}
    for conversation, verdict in zip(conversations, found, strict=True):
        if verdict.winner is not None:
            tables.setdefault(conversation, np.zeros((3, 3)))
            tables[conversation] += _TABLES[verdict.winner]
    if len(tables) < 2:
        return None
    return bootstrap.statistic(
        np.stack([table.ravel() for table in tables.values()]),
        lambda sums: kappa(sums.reshape(-1, 3, 3)),
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=rules.seed,
    )


# People down, the judge across, as A, B, tie; a pair counts once with the preferred text as A and
# once with it as B.
_TABLES = {
    "left": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "right": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]),
    "tie": np.array([[0.0, 0, 1], [0, 0, 1], [0, 0, 0]]),
}


def _rated(examples: Sequence[Example]) -> list[Pair]:
    """Pair texts rated highly with texts rejected for the same prompt, each text once."""
    good: dict[tuple[Message, ...], list[Example]] = {}
    bad: dict[tuple[Message, ...], list[Example]] = {}
    for example in examples:
        if example.source in ("rating", "rejection"):
            side = good if example.source == "rating" else bad
            side.setdefault(example.messages, []).append(example)
    return [
        _pair(better, better.target, worse.target)
        for messages, betters in good.items()
        for better, worse in zip(betters, bad.get(messages, ()), strict=False)
        if better.target.strip() != worse.target.strip()
    ]


def _spread(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """Take pairs from every conversation in turn, whatever the task, until there are enough."""
    seen: dict[str, int] = {}
    turns = []
    for pair in sorted(pairs, key=_shuffle):
        turn = seen[pair.conversation_id] = seen.get(pair.conversation_id, -1) + 1
        turns.append((turn, pair))
    turns.sort(key=lambda one: one[0])
    return [pair for _, pair in turns[:limit]]


def _shuffle(pair: Pair) -> str:
    """Return a key whose order has nothing to do with time or task, and is always the same."""
    return hashlib.sha256(f"{pair.conversation_id}\0{pair.left}\0{pair.right}".encode()).hexdigest()


def _pair(example: Example, preferred: str, other: str) -> Pair:
    return Pair(example.conversation_id, example.task, example.messages, preferred, other)


def _text(answer: Sequence[dict[str, Any]]) -> str:
    return str(answer[0]["content"])


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
