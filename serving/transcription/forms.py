"""A transcription in OpenAI's response formats. Pure functions."""

from collections.abc import Sequence
from typing import Any, Literal

from serving.transcription.whisper import Segment, Transcript

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
FORMATS: tuple[Format, ...] = ("json", "text", "srt", "verbose_json", "vtt")
MEDIA_TYPES: dict[Format, str] = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
"""Of the formats that are no JSON."""


def as_json(made: Transcript) -> dict[str, Any]:
    """Return the body of `json`."""
    return {"text": made.text, "usage": _usage(made)}


def as_verbose_json(made: Transcript, *, words: bool, segments: bool) -> dict[str, Any]:
    """Return the body of `verbose_json`.

    Args:
        made: The transcription.
        words: Whether each word's time is wanted.
        segments: Whether the pieces are.
    """
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": made.language,
        "duration": round(made.seconds, 3),
        "text": made.text,
        "usage": _usage(made),
    }
    if words:
        body["words"] = [
            {"word": one.word, "start": one.start, "end": one.end}
            for segment in made.segments
            for one in segment.words
        ]
    if segments:
        body["segments"] = [
            {
                "id": number,
                "seek": 0,
                "start": one.start,
                "end": one.end,
                "text": one.text,
                "tokens": one.tokens,
                "temperature": one.temperature,
                "avg_logprob": one.avg_logprob,
                "compression_ratio": one.compression_ratio,
                "no_speech_prob": one.no_speech_prob,
            }
            for number, one in enumerate(made.segments)
        ]
    return body


def as_text(made: Transcript, form: Format) -> str:
    """Return the body of `text`, `srt` or `vtt`."""
    if form == "text":
        return f"{made.text}\n"
    if form == "srt":
        return "\n".join(
            f"{n}\n{_times(one, ',')}\n{_line(one)}\n" for n, one in enumerate(made.segments, 1)
        )
    return "\n".join(["WEBVTT\n", *_cues(made.segments)])


def clock(seconds: float, mark: str) -> str:
    """Return a time as subtitles have it, 01:02:03,004, with a mark before the milliseconds."""
    total = round(max(0.0, seconds) * 1000)
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, thousandths = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{mark}{thousandths:03}"


def _cues(segments: Sequence[Segment]) -> list[str]:
    return [f"{_times(one, '.')}\n{_line(one)}\n" for one in segments]


def _times(one: Segment, mark: str) -> str:
    return f"{clock(one.start, mark)} --> {clock(one.end, mark)}"


def _line(one: Segment) -> str:
    """The text, in which nothing passes for the arrow of a cue."""
    return " ".join(one.text.split()).replace("-->", "->")


def _usage(made: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(made.seconds)}
