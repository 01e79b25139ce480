"""Events are read strictly, and refused with what their client calls them."""

import base64
import json
from typing import Any

import pytest
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    ConversationItemInputAudioTranscriptionDeltaEvent,
    ConversationItemInputAudioTranscriptionFailedEvent,
    RealtimeErrorEvent,
)

from serving.api.realtime import events
from serving.errors import InvalidRequest, Overloaded

APPEND = "input_audio_buffer.append"


def append(audio: str) -> events.Append:
    made = events.parse(json.dumps({"type": APPEND, "audio": audio}), 1 << 20)
    assert isinstance(made, events.Append)
    return made


def test_sound_comes_as_bytes() -> None:
    assert append(base64.b64encode(b"abcd").decode()).samples() == b"abcd"
    assert append("").samples() == b""


@pytest.mark.parametrize("audio", ["no base64!", "YWJj", "YQ", "ä"])
def test_what_is_no_sound_is_refused(audio: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        append(audio).samples()
    assert refused.value.param == "audio"


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({}, "type"),
        ({"type": "response.create"}, "type"),
        ({"type": ["input_audio_buffer.commit"]}, "type"),
        ({"type": APPEND}, "audio"),
        ({"type": APPEND, "audio": 1}, "audio"),
        ({"type": "input_audio_buffer.commit", "more": 1}, "more"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "session.type"),
    ],
)
def test_a_wrong_event_is_refused_by_its_id(event: dict[str, Any], param: str) -> None:
    with pytest.raises(events.RefusedEvent) as refused:
        events.parse(json.dumps(event | {"event_id": "e1"}), 1 << 20)
    assert refused.value.event_id == "e1"
    assert refused.value.error.param == param
    assert refused.value.error.status == 400


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "\ud800", "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(events.RefusedEvent) as refused:
        events.parse(text, 1 << 20)
    assert refused.value.error.status == 400


def test_a_long_event_is_refused() -> None:
    with pytest.raises(events.RefusedEvent) as refused:
        events.parse(json.dumps({"type": APPEND, "audio": "A" * 200}), 100)
    assert refused.value.error.code == "body_too_large"


def test_what_is_sent_is_what_openai_s_client_reads() -> None:
    wrong = Overloaded("Too many wait.", param="audio")
    shown = RealtimeErrorEvent.model_validate(events.error(wrong, "e1"))
    assert (shown.error.event_id, shown.error.code, shown.error.param) == (
        *("e1", "overloaded", "audio"),
    )
    of = ConversationItemInputAudioTranscriptionFailedEvent.model_validate(
        events.failed("item_1", wrong)
    )
    assert of.error.message == "Too many wait."
    more = ConversationItemInputAudioTranscriptionDeltaEvent.model_validate(
        events.delta("item_1", "my parcel")
    )
    assert (more.item_id, more.delta) == ("item_1", "my parcel")
    whole = ConversationItemInputAudioTranscriptionCompletedEvent.model_validate(
        events.completed("item_1", "my parcel", 1.25)
    )
    assert (whole.transcript, whole.usage.type) == ("my parcel", "duration")
