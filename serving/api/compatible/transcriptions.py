"""`/v1/audio/transcriptions` in OpenAI's form.

The recording is the caller's own and of no line, so a key needs a role that asks models and no
line. Nothing is stored.
"""

import time
from typing import IO, Any, Literal, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from serving import endpoints
from serving.api.access import need
from serving.auth import ApiKey, Role
from serving.errors import InvalidRequest, SwitchboardError
from serving.files import form
from serving.observability import metrics
from serving.transcription.forms import MEDIA_TYPES, Format, as_json, as_text, as_verbose_json
from serving.transcription.whisper import Options, Transcriber, Transcript

_LISTS = ("timestamp_granularities[]", "timestamp_granularities")
_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "model"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "language": {"type": "string"},
                        "prompt": {"type": "string"},
                        "response_format": {
                            "type": "string",
                            "enum": ["json", "text", "srt", "verbose_json", "vtt"],
                        },
                        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                }
            }
        },
    }
}


class Fields(BaseModel):
    """The form beside its file."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1)
    language: str | None = Field(None, max_length=16)
    prompt: str | None = None
    response_format: Format = "json"
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ("segment",)


class Subtitles(Response):
    """A text of any of the formats that are no JSON."""

    media_type = "text/plain"


def router(transcriber: Transcriber) -> APIRouter:
    """Make the endpoint.

    Args:
        transcriber: What transcribes.
    """
    routes = APIRouter()

    @routes.post(endpoints.TRANSCRIPTIONS, openapi_extra=_SCHEMA, response_model=None)
    async def _transcribe(request: Request) -> Response:
        key: ApiKey = request.state.key
        need(key, Role.SERVICE, Role.AGENT, Role.TRAINER)
        limit = transcriber.configured().max_bytes
        sent = await form.read(request.headers, request.receive, limit, "`file` and `model`")
        try:
            asked, file = read(sent)
            transcriber.check(asked.model)
            made = await _measured(transcriber, cast(IO[bytes], file.file), asked)
        finally:
            await sent.close()
        return shown(made, asked)

    return routes


def read(sent: FormData) -> tuple[Fields, UploadFile]:
    """Return a form's fields and its recording.

    Raises:
        InvalidRequest: A field is missing, unknown or wrong; names it.
    """
    file = sent.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("`file` must be a file of the form.", param="file")
    fields: dict[str, Any] = {}
    for name, value in sent.multi_items():
        if name in _LISTS:
            fields.setdefault(_LISTS[1], []).append(value)
        elif name != "file":
            fields[name] = value
    try:
        return Fields.model_validate(fields), file
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:64]
        raise InvalidRequest(f"{where}: {first['msg']}.", param=where) from exc


def shown(made: Transcript, asked: Fields) -> Response:
    """Return a transcription in the format that was asked for."""
    if asked.response_format == "json":
        return JSONResponse(as_json(made))
    if asked.response_format == "verbose_json":
        wanted = asked.timestamp_granularities
        return JSONResponse(
            as_verbose_json(made, words="word" in wanted, segments="segment" in wanted)
        )
    media_type = MEDIA_TYPES[asked.response_format]
    return Subtitles(as_text(made, asked.response_format), media_type=media_type)


async def _measured(transcriber: Transcriber, source: IO[bytes], asked: Fields) -> Transcript:
    began, outcome = time.perf_counter(), "failed"
    options = Options(
        language=asked.language or None,
        prompt=asked.prompt or None,
        temperature=asked.temperature,
        words=asked.response_format == "verbose_json" and "word" in asked.timestamp_granularities,
    )
    try:
        made = await transcriber.transcribe(source, options)
        outcome = "answered"
    except SwitchboardError as exc:
        outcome = "refused" if exc.status < 500 else "failed"
        raise
    finally:
        metrics.TRANSCRIPTIONS.labels(outcome).inc()
        metrics.TRANSCRIPTION_SECONDS.observe(time.perf_counter() - began)
    metrics.TRANSCRIBED_SECONDS.inc(made.seconds)
    return made
