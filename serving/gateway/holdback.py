"""Turns whose suggestion is made and not shown, so that what showing does can be measured.

Chance alone decides, so shown and held-back turns are alike but for the showing (docs/impact.md).
The server cannot hide what it answers: `show` tells the client, which must obey.
"""

from dataclasses import dataclass

from serving.config.lobs import Lob
from serving.draws import holds_back
from serving.gateway.request import InferenceRequest

HEADER = b"x-switchboard-show"
_WORDS = {True: b"true", False: b"false"}
_EVENT = b"data: {"


@dataclass(frozen=True, slots=True)
class Showing:
    """What a client is told about showing an answer.

    Args:
        show: None where the answer says nothing of it.
        share: The share that is held back; None where no draw was made.
    """

    show: bool | None = None
    share: float | None = None


def decide(asked: InferenceRequest, name: str | None, lob: Lob | None) -> Showing:
    """Draw a turn.

    Only agents' requests are drawn, which ask the line by its name and name their conversation:
    a pinned version is asked by tests and evaluations, and without a conversation nothing would
    keep a turn that is asked again on its side.

    Args:
        asked: The request.
        name: The line of business that it is for.
        lob: Its settings.
    """
    if lob is None or not lob.holdback or asked.task != "suggestion":
        return Showing()
    if name is None or asked.model != name or not asked.conversation_id:
        return Showing(show=True)
    held = holds_back(name, lob.holdback, asked.conversation_id, asked.turn or 0)
    return Showing(not held, lob.holdback)


def header(show: bool) -> tuple[bytes, bytes]:
    """Return the header that says it."""
    return HEADER, _WORDS[show]


def field(show: bool) -> bytes:
    """Return the field that says it, as it stands first in an answer's JSON object."""
    return b'"show":%b,' % _WORDS[show]


def told(chunk: bytes, show: bool, *, stream: bool) -> bytes:
    """Return a piece of an answer that begins an object, or a stream's event, with the field."""
    start = _EVENT if stream else b"{"
    return start + field(show) + chunk[len(start) :] if chunk.startswith(start) else chunk
