"""What a judge's answers say together: pure counting, apart from asking.

A model that compares two texts favours a position, often the first (Zheng et al., "Judging
LLM-as-a-Judge with MT-Bench and Chatbot Arena", 2023, arXiv:2306.05685). So each pair is shown in
both orders, and only a text that wins in both has won; a verdict that flips with the order is a
tie. How often it flips is the judge's position bias.

Verdicts on one conversation are not independent, so a conversation is one trial: its pairs
together are won, lost or tied. The win rate is among conversations that are not tied; half of
them is chance. Position bias and missing verdicts are counted by pair.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from training.stats import proportions
from training.stats.bootstrap import Interval

Word = Literal["A", "B", "tie"]
Winner = Literal["left", "right", "tie"]
WORDS: tuple[Word, ...] = ("A", "B", "tie")
_QUOTES = " \t\r\n.\"'`*[]()"


@dataclass(frozen=True)
class Verdict:
    """A pair's outcome over both orders.

    Args:
        winner: left or right if that text won in both orders; None if either answer was malformed.
        favoured: The position that was preferred whichever text stood there, if one was.
    """

    winner: Winner | None
    favoured: Literal["A", "B"] | None = None


IDENTICAL = Verdict("tie")
"""Of two texts that are the same: nobody need be asked."""


@dataclass(frozen=True)
class Tally:
    """Verdicts, counted; intervals are None where there is nothing to count.

    Args:
        wins: Conversations that left won.
        losses: Conversations that right won.
        ties: Conversations with as many wins as losses.
        win_rate: wins / (wins + losses), Wilson's interval.
        pairs: Pairs in all.
        tied: Share of the pairs with a verdict that are ties, Wilson's interval.
        position_bias: Share of the pairs with a verdict where the position decided, Wilson's.
        favoured_first: How many of them for the first position.
        malformed: Share of all pairs without a verdict, Wilson's interval.
    """

    wins: int
    losses: int
    ties: int
    win_rate: Interval | None
    pairs: int
    tied: Interval | None
    position_bias: Interval | None
    favoured_first: int
    malformed: Interval | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures as the registry keeps them."""
        return asdict(self)


def parse(text: str) -> Word | None:
    """Return the judge's word, or None if the answer is anything else."""
    plain = text.strip(_QUOTES).casefold()
    return next((word for word in WORDS if word.casefold() == plain), None)


def merge(forward: Word | None, backward: Word | None) -> Verdict:
    """Merge the answers of both orders.

    Args:
        forward: The answer with left as A.
        backward: The answer with right as A.
    """
    if forward is None or backward is None:
        return Verdict(None)
    if forward != "tie" and forward == backward:
        return Verdict("tie", favoured=forward)
    if {forward, backward} == {"A", "B"}:
        return Verdict("left" if forward == "A" else "right")
    return Verdict("tie")


def outcomes(verdicts: Sequence[Verdict], conversations: Sequence[str]) -> dict[str, Winner]:
    """Return each conversation's outcome; one without any verdict has none.

    Args:
        verdicts: (pairs,) verdicts.
        conversations: (pairs,) conversation of each.
    """
    lead: dict[str, int] = {}
    for verdict, conversation in zip(verdicts, conversations, strict=True):
        if verdict.winner is not None:
            step = {"left": 1, "right": -1, "tie": 0}[verdict.winner]
            lead[conversation] = lead.get(conversation, 0) + step
    return {c: "left" if n > 0 else "right" if n < 0 else "tie" for c, n in lead.items()}


def tally(
    verdicts: Sequence[Verdict], conversations: Sequence[str], *, confidence: float = 0.95
) -> Tally:
    """Count verdicts.

    Args:
        verdicts: (pairs,) verdicts.
        conversations: (pairs,) conversation of each.
        confidence: Coverage of the intervals.
    """
    found = list(outcomes(verdicts, conversations).values())
    wins, losses = found.count("left"), found.count("right")
    judged = [verdict for verdict in verdicts if verdict.winner is not None]
    favoured = [verdict.favoured for verdict in judged if verdict.favoured is not None]
    tied = sum(verdict.winner == "tie" for verdict in judged)
    return Tally(
        wins=wins,
        losses=losses,
        ties=found.count("tie"),
        win_rate=_rate(wins, wins + losses, confidence),
        pairs=len(verdicts),
        tied=_rate(tied, len(judged), confidence),
        position_bias=_rate(len(favoured), len(judged), confidence),
        favoured_first=favoured.count("A"),
        malformed=_rate(len(verdicts) - len(judged), len(verdicts), confidence),
    )


def _rate(hits: int, trials: int, confidence: float) -> Interval | None:
    return proportions.wilson(hits, trials, confidence=confidence) if trials else None
