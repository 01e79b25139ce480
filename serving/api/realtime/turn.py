"""A turn: sound that grows until it is committed, and what of it stands firm."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.transcription.agreement import Agreement, cut, text
from serving.transcription.audio import Pcm
from serving.transcription.whisper import Segment, Word

SURE_S = 15.0
"""Sound whose words are confirmed is let go once there is so much of it; Macháček et al.'s."""


@dataclass
class Turn:
    """A turn.

    Args:
        rate: Samples a second.
    """

    rate: int
    item_id: str = field(default_factory=lambda: f"item_{secrets.token_hex(12)}")
    known: Agreement = field(default_factory=Agreement)
    heard_s: float = 0.0
    dropped: bool = False
    _data: bytearray = field(default_factory=bytearray)
    _since_s: float = 0.0
    _told: int = 0

    @property
    def kept_s(self) -> float:
        """Seconds that are in memory."""
        return len(self._data) / (2 * self.rate)

    @property
    def seconds(self) -> float:
        """Seconds that were sent."""
        return self._since_s + self.kept_s

    def append(self, samples: bytes) -> None:
        """Take more sound, two bytes a sample."""
        self._data += samples

    def pcm(self) -> Pcm:
        """Return what must be heard."""
        return Pcm(bytes(self._data), self.rate)

    @property
    def said_before(self) -> str:
        """What was said before that."""
        return text([one for one in self.known.confirmed if one.end <= self._since_s]).strip()

    def heard(self, segments: Sequence[Segment], seconds: float, *, last: bool = False) -> str:
        """Take a hypothesis about what must be heard; returns what more of the turn stands firm.

        Args:
            segments: It; times from where that begins.
            seconds: How much of the turn it is about.
            last: Whether no more is said.
        """
        words = [_later(word, self._since_s) for one in segments for word in one.words]
        known = self.known.finished if last else self.known.heard
        self.known = known(words, self._since_s)
        self.heard_s = seconds
        more = self.known.text[self._told :]
        self._told += len(more)
        ends = [one.end + self._since_s for one in segments]
        until = min(cut(self.known, ends, self._since_s, longer_than_s=SURE_S), seconds)
        over = int((until - self._since_s) * self.rate)
        if over > 0:
            del self._data[: 2 * over]
            self._since_s += over / self.rate
        return more


def _later(word: Word, by_s: float) -> Word:
    return Word(word.word, word.start + by_s, word.end + by_s, word.before)
