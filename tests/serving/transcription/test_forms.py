"""Transcriptions in OpenAI's formats."""

import pytest

from serving.transcription.forms import as_json, as_text, as_verbose_json, clock
from serving.transcription.whisper import Segment, Transcript, Word


def segment(start: float, end: float, text: str, *words: Word) -> Segment:
    return Segment(start, end, text, (1, 2), 0.0, -0.1, 1.2, 0.01, words)


MADE = Transcript(
    "en",
    3661.5,
    (
        segment(0.0, 1.25, " Hello there.", Word("Hello", 0.0, 0.5), Word("there.", 0.5, 1.25)),
        segment(3599.9996, 3661.5, " A --> B\n\n2"),
    ),
)


def test_text_is_all_that_was_said() -> None:
    assert as_json(MADE) == {
        "text": "Hello there. A --> B\n\n2",
        "usage": {"type": "duration", "seconds": 3662},
    }
    assert as_text(MADE, "text") == "Hello there. A --> B\n\n2\n"


def test_srt_numbers_its_cues_and_no_text_passes_for_one() -> None:
    assert as_text(MADE, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,250\nHello there.\n\n"
        "2\n01:00:00,000 --> 01:01:01,500\nA -> B 2\n"
    )


def test_vtt_has_its_head_and_points() -> None:
    assert as_text(MADE, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nHello there.\n\n"
        "01:00:00.000 --> 01:01:01.500\nA -> B 2\n"
    )


@pytest.mark.parametrize(("words", "segments"), [(True, False), (False, True), (True, True)])
def test_verbose_json_has_what_is_wanted(words: bool, segments: bool) -> None:
    body = as_verbose_json(MADE, words=words, segments=segments)
    assert (body["language"], body["duration"]) == ("en", 3661.5)
    assert ("words" in body, "segments" in body) == (words, segments)
    if words:
        assert body["words"][1] == {"word": "there.", "start": 0.5, "end": 1.25}
    if segments:
        assert [one["id"] for one in body["segments"]] == [0, 1]


def test_silence_is_an_empty_text() -> None:
    silent = Transcript("en", 1.0, ())
    assert as_text(silent, "srt") == ""
    assert as_text(silent, "vtt") == "WEBVTT\n"
    assert as_json(silent)["text"] == ""


def test_a_time_is_never_before_the_beginning() -> None:
    assert clock(-0.01, ".") == "00:00:00.000"
