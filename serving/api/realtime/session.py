"""What a session at `/v1/realtime` is set to, and how a client changes it. Pure functions.

The subset of OpenAI's Realtime API that transcribing needs, in its present form (`session.update`)
and its older one (`transcription_session.update`). What is not served is refused by its name: who
asks for voice activity detection must learn that they have to commit themselves.
"""

import secrets
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

TYPE = "transcription"


def _no(why: str) -> Any:
    def check(value: object) -> object:
        if value:
            raise ValueError(why)
        return value

    return BeforeValidator(check)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Format(_Part):
    """How samples are sent."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[16_000, 24_000] = 24_000


class Asked(_Part):
    """What is asked of the model; what is not named stays as it is."""

    model: str | None = Field(None, max_length=256)
    language: str | None = Field(None, max_length=16)
    prompt: str | None = Field(None, max_length=4096)


_Detection = Annotated[
    None, _no("there is no voice activity detection: send null, and commit each turn")
]
_Reduction = Annotated[None, _no("noise is not reduced: send null")]
_Include = Annotated[list[str] | None, _no("nothing can be included: leave it out")]


class Input(_Part):
    """What comes in."""

    format: Format | None = None
    transcription: Asked = Field(default_factory=Asked)
    turn_detection: _Detection = None
    noise_reduction: _Reduction = None


class Audio(_Part):
    """What is heard."""

    input: Input = Field(default_factory=Input)


class Change(_Part):
    """The session of `session.update`."""

    type: Literal["transcription"]
    audio: Audio = Field(default_factory=Audio)
    include: _Include = None

    def parts(self) -> tuple[Asked, int | None]:
        """Return what it asks of the model, and its samples a second."""
        form = self.audio.input.format
        return self.audio.input.transcription, None if form is None else form.rate


class OlderChange(_Part):
    """The session of `transcription_session.update`."""

    input_audio_format: Literal["pcm16"] | None = None
    input_audio_transcription: Asked = Field(default_factory=Asked)
    turn_detection: _Detection = None
    input_audio_noise_reduction: _Reduction = None
    include: _Include = None

    def parts(self) -> tuple[Asked, int | None]:
        """Return what it asks of the model, and its samples a second."""
        return self.input_audio_transcription, 24_000 if self.input_audio_format else None


@dataclass(frozen=True)
class Session:
    """A session's settings.

    Args:
        model: By the name that clients use.
        language: ISO 639-1; None lets the model tell.
        prompt: Words that stand before, to hear names by.
        rate: Samples a second that the client sends.
    """

    model: str
    language: str | None = None
    prompt: str | None = None
    rate: int = 24_000
    id: str = field(default_factory=lambda: f"sess_{secrets.token_hex(12)}")

    def changed(self, change: Change | OlderChange) -> Self:
        """Return the settings with what a client names in place; null clears."""
        asked, rate = change.parts()
        named: dict[str, Any] = {
            name: getattr(asked, name) or None for name in asked.model_fields_set
        }
        if named.get("model") is None:
            named.pop("model", None)
        return replace(self, **named, rate=rate or self.rate)

    def shown(self) -> dict[str, Any]:
        """Return it as `session.created` and `session.updated` show it."""
        return {
            "id": self.id,
            "object": "realtime.transcription_session",
            "type": TYPE,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": self.rate},
                    "transcription": self._transcription(),
                    "turn_detection": None,
                    "noise_reduction": None,
                }
            },
            "include": None,
        }

    def shown_older(self) -> dict[str, Any]:
        """Return it as `transcription_session.updated` shows it."""
        return {
            "id": self.id,
            "object": "realtime.transcription_session",
            "input_audio_format": "pcm16",
            "input_audio_transcription": self._transcription(),
            "turn_detection": None,
        }

    def _transcription(self) -> dict[str, Any]:
        return {"model": self.model, "language": self.language, "prompt": self.prompt}
