"""A stream's last events, kept back until what guards found can be told in them.

The event that says why the answer ended (`finish_reason`; of a response, its last event) gets the
field `guards`, which clients of OpenAI's pass over: their events take fields that they do not know.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_FINISHED = b'"finish_reason":"'
_USAGE_ONLY = b'"choices":[]'
_OF_RESPONSE = tuple(b"event: response." + end for end in (b"completed", b"incomplete", b"failed"))
_END = b"}\n\n"


def ends(body: bytes) -> bool:
    """Whether an event says that an answer, or one of its choices, is complete."""
    return _FINISHED in body or body.startswith(_OF_RESPONSE)


def told(body: bytes, guards: Sequence[Mapping[str, Any]]) -> bytes:
    """Return an event with what guards found.

    Args:
        body: One event with a JSON object.
        guards: As a capture holds them; none adds nothing.
    """
    if not guards or not body.endswith(_END):
        return body
    return body.removesuffix(_END) + b',"guards":' + orjson.dumps(guards) + _END


class Ending:
    """Keeps the last event that `ends` anything, and what counts tokens after it."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def take(self, body: bytes) -> list[bytes]:
        """Take an event; return those that may go out."""
        if ends(body):
            before, self._kept = self._kept, [body]
            return before
        if self._kept and _USAGE_ONLY in body:
            self._kept.append(body)
            return []
        before, self._kept = self._kept, []
        return [*before, body]

    def close(self, guards: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Return what is kept, with what guards found."""
        kept, self._kept = self._kept, []
        return [told(kept[0], guards), *kept[1:]] if kept else []
