"""Personal values hidden from whoever answers, and put back into the answer.

A request's values become surrogates before it leaves for an upstream (`surrogates`: other values of
the same shape, so the text reads as it did), and what the upstream writes with them gets the values
back. The table of both lives as long as the request, in memory.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from serving.redaction.recognition import locate, replaced, spelled
from serving.redaction.surrogates import chosen

_KEPT = frozenset({"model", "role", "type", "id", "tool_call_id", "format"})
"""What the API defines: no text of anybody."""


_READ = frozenset({"text", "refusal"})
"""Parts of a message that are texts."""


class Unreadable(ValueError):
    """A request holds what no pattern reads: token ids, an image, a recording."""


class Veil:
    """The values of one request, and their surrogates.

    Args:
        texts: All texts of the request; they are read together.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        kinds, places = locate(texts)
        names = chosen(texts, kinds, places) if kinds else {}
        hidden = replaced(texts, kinds, places, names).texts
        self._hidden = dict(zip(texts, hidden, strict=True))
        self._values: dict[str, str] = {}
        for text, found in zip(texts, places, strict=True):
            for start, end, key in found:
                surface = text[start:end]
                surrogate = spelled(surface, key, kinds[key], names[key])
                self._values.setdefault(surrogate.casefold(), surface)
        longest_first = sorted(self._values, key=lambda one: (-len(one), one))
        alternatives = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE)

    @property
    def empty(self) -> bool:
        """Whether nothing is hidden."""
        return not self._values

    def hide(self, text: str) -> str:
        """Return one of the request's texts with surrogates in the values' places."""
        return self._hidden.get(text, text)

    def lift(self, text: str) -> str:
        """Return a text of the answer with the values back, whichever case they are written in."""
        if self.empty:
            return text
        return self._pattern.sub(lambda found: self._values[found[0].casefold()], text)

    def held(self, text: str) -> int:
        """Return how many characters at the end may be the beginning of a surrogate, or one."""
        folded = text.casefold()
        if len(folded) != len(text):  # such as ß: nothing is known of the places
            return len(text)
        for start in range(max(0, len(text) - max(map(len, self._values), default=0)), len(text)):
            inside = start > 0 and text[start - 1].isalnum()
            if not inside and any(one.startswith(folded[start:]) for one in self._values):
                return len(text) - start
        return 0


class Lifter:
    """Lifts a veil from a stream, a delta at a time; what may go on to be a surrogate waits."""

    def __init__(self, veil: Veil) -> None:
        self._veil = veil
        self._waiting = ""
        self._last = ""

    def feed(self, delta: str) -> str:
        """Return what of the stream so far can go out now."""
        text = self._waiting + delta
        held = self._veil.held(text)
        ready, self._waiting = text[: len(text) - held], text[len(text) - held :]
        return self._lifted(ready)

    def end(self) -> str:
        """Return what waited."""
        ready, self._waiting = self._waiting, ""
        return self._lifted(ready)

    def _lifted(self, ready: str) -> str:
        # With the character before it, since no surrogate begins within a word.
        lifted = self._veil.lift(self._last + ready)[len(self._last) :]
        self._last = ready[-1:] or self._last
        return lifted


def texts_of(request: Any) -> list[str]:
    """Return all texts of a request's JSON, in order.

    Raises:
        Unreadable: It holds what no pattern reads.
    """
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _check(request)
    mapped(request, note)
    return found


def mapped(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    """Return JSON with each of its texts changed; what the API defines stays."""
    if isinstance(value, str):
        return value if name in _KEPT else change(value)
    if isinstance(value, dict):
        return {k: mapped(v, change, k) for k, v in value.items()}
    if isinstance(value, list):
        return [mapped(one, change, name) for one in value]
    return value


def _check(value: Any, name: str = "") -> None:
    if isinstance(value, dict):
        if name == "content" and value.get("type") not in _READ:
            raise Unreadable(f"content of type {str(value.get('type'))[:32]}")
        for k, v in value.items():
            _check(v, k)
    elif isinstance(value, list):
        if name == "prompt" and any(type(one) is not str for one in value):
            raise Unreadable("a prompt of token ids")
        for one in value:
            _check(one, name)
