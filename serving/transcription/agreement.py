"""Which words of a growing recording stand firm. Pure functions.

LocalAgreement-2 (Liu, Spanakis and Niehues: Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection, Interspeech 2020), as Macháček, Dabre and Bojar use it
with Whisper (Turning Whisper into Real-Time Transcription System, IJCNLP-AACL 2023): what two
successive hypotheses have in common, from what is confirmed on, is confirmed. It is never taken
back. Words that are heard once more, since times shift, are told by their text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Self

from serving.transcription.whisper import Word

SLACK_S = 0.1
"""By so much a word may begin before the last confirmed one ends; Macháček et al.'s."""
NEAR_S = 1.0
REPEATED = 5
"""Where a hypothesis goes on within a second, so many words at most are looked at for repeats."""


@dataclass(frozen=True)
class Agreement:
    """What is known of a recording that still grows.

    Args:
        confirmed: Words that stand firm, in order; times in seconds of the whole recording.
        pending: What the last hypothesis has beyond them.
    """

    confirmed: tuple[Word, ...] = ()
    pending: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """What stands firm, without a space at its ends."""
        return text(self.confirmed).strip()

    @property
    def until_s(self) -> float:
        """When the last confirmed word ends, in seconds."""
        return self.confirmed[-1].end if self.confirmed else 0.0

    def heard(self, words: Sequence[Word], since_s: float = 0.0) -> Self:
        """Return what is known after one more hypothesis.

        Args:
            words: It, in order; times in seconds of the whole recording.
            since_s: Where in the recording it begins.
        """
        fresh = self._beyond(words, since_s)
        pairs = zip(self.pending, fresh, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: _same(*pair), pairs))
        return type(self)(self.confirmed + fresh[:same], fresh[same:])

    def finished(self, words: Sequence[Word], since_s: float = 0.0) -> Self:
        """Return what is known when no more is said: the last hypothesis stands as it is."""
        return type(self)(self.confirmed + self._beyond(words, since_s))

    def _beyond(self, words: Sequence[Word], since_s: float) -> tuple[Word, ...]:
        """Return what a hypothesis has that is not confirmed yet."""
        within = [one for one in self.confirmed if one.end > since_s + SLACK_S]
        if within and len(within) <= len(words) and all(map(_same, within, words)):
            return tuple(words[len(within) :])
        fresh = [one for one in words if one.start > self.until_s - SLACK_S]
        if fresh and abs(fresh[0].start - self.until_s) < NEAR_S:
            for count in range(1, min(len(self.confirmed), len(fresh), REPEATED) + 1):
                if all(map(_same, self.confirmed[-count:], fresh)):
                    return tuple(fresh[count:])
        return tuple(fresh)


def text(words: Sequence[Word]) -> str:
    """Return words as they are written."""
    return "".join(one.before + one.word for one in words)


def cut(known: Agreement, ends: Sequence[float], since_s: float, *, longer_than_s: float) -> float:
    """Return up to where a recording need not be heard again, in seconds of the whole.

    It is the end of the last piece whose words are all confirmed, or of the last such word where
    there is none: Whisper hears 30 s at once, and each hypothesis hears all that is kept.

    Args:
        known: What stands firm.
        ends: The ends of the hypothesis' pieces, in seconds of the whole; the last is not over.
        since_s: Where what is kept begins.
        longer_than_s: Nothing is cut where less than so much is confirmed.
    """
    if known.until_s - since_s < longer_than_s:
        return since_s
    over = [end for end in ends[:-1] if since_s < end <= known.until_s + SLACK_S]
    return min(over[-1], known.until_s) if over else known.until_s


def _same(one: Word, other: Word) -> bool:
    return one.word == other.word
