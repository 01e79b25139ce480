"""What a client changes is changed, and what is not served is refused by its name."""

from typing import Any

import pytest
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)
from pydantic import ValidationError

from serving.api.realtime.session import Change, OlderChange, Session


def change(**fields: Any) -> Change:
    return Change.model_validate({"type": "transcription", "audio": {"input": fields}})


def test_only_what_is_named_changes_and_null_clears() -> None:
    first = Session("whisper").changed(change(transcription={"language": "en", "prompt": "Ann"}))
    assert (first.model, first.language, first.prompt, first.rate) == (
        "whisper",
        "en",
        "Ann",
        24000,
    )
    second = first.changed(change(format={"type": "audio/pcm", "rate": 16000}))
    assert (second.language, second.prompt, second.rate) == ("en", "Ann", 16000)
    third = second.changed(change(transcription={"language": None, "model": None}))
    assert (third.model, third.language, third.prompt, third.rate) == (
        "whisper",
        None,
        "Ann",
        16000,
    )
    assert third.id == first.id


def test_the_older_form_says_the_same() -> None:
    asked = {"input_audio_format": "pcm16", "input_audio_transcription": {"language": "de"}}
    made = Session("whisper", rate=16000).changed(OlderChange.model_validate(asked))
    assert (made.language, made.rate) == ("de", 24000)
    assert made.shown_older()["input_audio_transcription"]["language"] == "de"


def test_what_is_shown_is_what_openai_s_client_reads() -> None:
    shown = RealtimeTranscriptionSessionCreateResponse.model_validate(
        Session("whisper", language="en").shown()
    )
    assert shown.audio is not None
    assert shown.audio.input is not None
    assert shown.audio.input.transcription is not None
    assert shown.audio.input.transcription.language == "en"
    assert shown.audio.input.turn_detection is None


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"turn_detection": {"type": "server_vad"}}, "turn_detection"),
        ({"noise_reduction": {"type": "near_field"}}, "noise_reduction"),
        ({"format": {"type": "audio/pcmu"}}, "format"),
        ({"format": {"type": "audio/pcm", "rate": 8000}}, "format"),
        ({"transcription": None}, "transcription"),
        ({"transcription": {"model": "whisper", "delay": "low"}}, "delay"),
    ],
)
def test_what_is_not_served_is_named(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        change(**fields)


def test_null_is_no_wish() -> None:
    made = Session("whisper").changed(
        change(turn_detection=None, noise_reduction=None, format=None)
    )
    assert made.rate == 24000
    with pytest.raises(ValidationError, match="include"):
        Change.model_validate({"type": "transcription", "include": ["a.logprobs"]})
    with pytest.raises(ValidationError, match="type"):
        Change.model_validate({"type": "realtime"})
