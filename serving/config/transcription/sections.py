"""The section `transcription`: a speech model beside the engine."""

from pathlib import Path

from pydantic import Field, field_validator

from serving.config.base import Section


class Transcription(Section):
    """What `/v1/audio/transcriptions` and `/v1/realtime` answer by."""

    model: Path = Field(
        description="Folder of a Whisper model in CTranslate2's form (`model.bin`); needs the "
        "extra `transcription`."
    )
    served_name: str = Field("whisper", min_length=1, description="The name clients use for it.")
    device: str = Field("cpu", description="Where it runs: cpu, cuda.")
    compute_type: str = Field(
        "int8", min_length=1, description="CTranslate2's type of its numbers: int8, float16, …"
    )
    threads: int = Field(1, ge=1, description="Threads of the CPU that a recording takes.")
    at_once: int = Field(1, ge=1, le=64, description="Recordings that are transcribed at once.")
    max_waiting: int = Field(
        8, ge=0, description="Recordings that may wait for it on a replica; more is 429."
    )
    max_bytes: int = Field(25 << 20, ge=1, description="Bytes of a recording at most.")
    max_audio_s: float = Field(
        3600.0, gt=0, description="Seconds of a recording at most; 64 KB of memory each."
    )
    partial_every_s: float = Field(
        1.0,
        gt=0,
        description="A session at `/v1/realtime` hears what was said again after so many seconds "
        "of new sound.",
    )
    max_sessions: int = Field(
        8, ge=1, description="Sessions at `/v1/realtime` on a replica; more is 429."
    )
    max_turn_s: float = Field(
        300.0,
        gt=0,
        description="Seconds of sound that a session may have sent and that are not transcribed "
        "yet; 48 KB of memory each.",
    )
    idle_s: float = Field(
        60.0, gt=0, description="A session that sends nothing for so many seconds is closed."
    )
    timeout_s: float = Field(300.0, gt=0, description="Longest wait for a transcription; then 504.")

    @field_validator("model")
    @classmethod
    def _is_there(cls, model: Path) -> Path:
        folder = model.expanduser()
        if not (folder / "model.bin").is_file():
            raise ValueError("there is no model.bin in this folder")
        return folder.absolute()  # replicas run elsewhere
