"""Events of OpenAI's Realtime protocol: what clients send, and what they get. Pure functions."""

import base64
import binascii
import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.api.realtime.session import Change, OlderChange
from serving.asgi import json_object
from serving.errors import BodyTooLarge, InvalidRequest, SwitchboardError

ITEM = "conversation.item.input_audio_transcription"
ID_LIMIT = 512


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_id: str | None = Field(None, max_length=ID_LIMIT)


class Update(_Event):
    """Change the session."""

    type: Literal["session.update"]
    session: Change


class OlderUpdate(_Event):
    """Change the session, in the older form."""

    type: Literal["transcription_session.update"]
    session: OlderChange


class Append(_Event):
    """More sound."""

    type: Literal["input_audio_buffer.append"]
    audio: str

    def samples(self) -> bytes:
        """Return the sound, two bytes a sample.

        Raises:
            InvalidRequest: It is no base64, or ends in the middle of a sample.
        """
        try:
            found = base64.b64decode(self.audio, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise InvalidRequest("`audio` is not base64.", param="audio") from exc
        if len(found) % 2:
            raise InvalidRequest("`audio` ends in the middle of a 16-bit sample.", param="audio")
        return found


class Commit(_Event):
    """A turn is over."""

    type: Literal["input_audio_buffer.commit"]


class Clear(_Event):
    """What was said since the last turn does not count."""

    type: Literal["input_audio_buffer.clear"]


ClientEvent = Update | OlderUpdate | Append | Commit | Clear
_KINDS: dict[str, type[ClientEvent]] = {
    kind.model_fields["type"].annotation.__args__[0]: kind  # type: ignore[union-attr]
    for kind in (Update, OlderUpdate, Append, Commit, Clear)
}


class RefusedEvent(Exception):
    """An event that is not taken.

    Args:
        error: Why.
        event_id: What its client calls it, if that could be read.
    """

    def __init__(self, error: SwitchboardError, event_id: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.event_id = event_id


def parse(text: str, most: int) -> ClientEvent:
    """Return a client's event.

    Args:
        text: The message.
        most: Bytes that it may have.

    Raises:
        RefusedEvent: It is too long, no event that is known, or a field is wrong; names it.
    """
    event_id: str | None = None
    try:
        raw = text.encode("utf-8", "surrogatepass")
        if len(raw) > most:
            raise BodyTooLarge(f"The event has {len(raw)} bytes; the limit is {most}.")
        value = json_object(raw)
        if isinstance(given := value.get("event_id"), str):
            event_id = given[:ID_LIMIT]
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in _KINDS:
            known = ", ".join(_KINDS)
            raise InvalidRequest(f"`type` must be one of {known}.", param="type")
        return _KINDS[kind].model_validate(value)
    except ValidationError as exc:
        first = exc.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:128]
        wrong = InvalidRequest(f"{where}: {first['msg']}.", param=where)
        raise RefusedEvent(wrong, event_id) from exc
    except SwitchboardError as exc:
        raise RefusedEvent(exc, event_id) from exc


def made(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a server's event."""
    return {"type": kind, "event_id": f"event_{secrets.token_hex(12)}", **fields}


def error(exc: SwitchboardError, event_id: str | None = None) -> dict[str, Any]:
    """Return an error as an event, with the id of the client's event that caused it."""
    return made("error", error=_shown(exc) | {"event_id": event_id})


def delta(item: str, text: str) -> dict[str, Any]:
    """Return what more of an item stands firm."""
    return made(f"{ITEM}.delta", item_id=item, content_index=0, delta=text)


def completed(item: str, text: str, seconds: float) -> dict[str, Any]:
    """Return an item's whole transcript: the deltas of it, joined."""
    usage = {"type": "duration", "seconds": round(seconds, 3)}
    return made(f"{ITEM}.completed", item_id=item, content_index=0, transcript=text, usage=usage)


def failed(item: str, exc: SwitchboardError) -> dict[str, Any]:
    """Return why an item has no transcript."""
    return made(f"{ITEM}.failed", item_id=item, content_index=0, error=_shown(exc))


def _shown(exc: SwitchboardError) -> dict[str, Any]:
    return {"type": exc.type, "code": exc.code, "message": exc.message, "param": exc.param}
