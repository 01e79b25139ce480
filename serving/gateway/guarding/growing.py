"""A text that grows, and how much of it guards may read before the rest is there.

Whole sentences are given out once, each with what stood before it, so that what spans two of them
is found with the second.
"""

import re
from dataclasses import dataclass

from serving.gateway.guarding.asking import OVERLAP
from serving.guards.canonical import canonical
from serving.guards.claims.sentences import complete

_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*\s+\S|\n\s*\S")
_BACK = 12
"""Characters before new ones in which a sentence's end may begin; a longer blank only delays it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What guards read at once.

    Args:
        text: Canonical: new sentences, and up to `OVERLAP` characters or a sentence before them.
        offset: Where it begins in the canonical form of all of the text.
        since: Where in it the new sentences begin.
        end: How many characters of the text as it was written are read with it.
    """

    text: str
    offset: int
    since: int
    end: int


class Growing:
    """A text of which pieces come.

    Args:
        whole: Whether it is read at its end only, since it has no sentences.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.length = 0
        """Characters that have come."""
        self.passed = 0
        """Characters that may go out, as who has them checked says."""
        self._whole = whole
        self._rest = ""
        self._may_end = False
        self._read = ""
        self._offset = 0
        self._begins: list[int] = []
        self._joint = ""

    def add(self, text: str) -> None:
        """Take what comes next."""
        before = len(self._rest)
        self._rest += text
        self.length += len(text)
        if not self._whole and not self._may_end:
            self._may_end = _END.search(self._rest, max(0, before - _BACK)) is not None

    def complete(self) -> Piece | None:
        """Return the new whole sentences, None where there is none."""
        if not self._may_end:
            return None
        self._may_end = False
        return self._take(complete(self._rest))

    def close(self) -> Piece | None:
        """Return what is left, None where nothing is."""
        return self._take(len(self._rest))

    def _take(self, size: int) -> Piece | None:
        if not size:
            return None
        new, self._rest = self._rest[:size], self._rest[size:]
        read = canonical(new)
        joint = self._joint if self._read and read else ""
        since = len(self._read) + len(joint)
        self._read += joint + read
        if read:
            self._begins.append(since)
            blank = new[len(new.rstrip()) :]
            self._joint = "\n" if "\n" in blank else " "
        piece = Piece(self._read, self._offset, since, self.length - len(self._rest))
        self._forget()
        return piece

    def _forget(self) -> None:
        """Keep the last sentences only: at least `OVERLAP` characters, where there are."""
        keep = 0
        for begin in self._begins:
            if len(self._read) - begin >= OVERLAP:
                keep = begin
        if keep:
            self._read = self._read[keep:]
            self._offset += keep
            self._begins = [begin - keep for begin in self._begins if begin >= keep]
