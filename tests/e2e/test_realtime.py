"""A session at /v1/realtime through HAProxy and Serve, on a server with a speech model."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests import speech
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
ITEM = "conversation.item.input_audio_transcription"


@pytest.fixture(scope="module")
def hearing(
    make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    model = {"model": str(speech.model()), "served_name": "tiny"}
    made = make_server(tmp_path_factory.mktemp("hearing"), transcription=model)
    made.start()
    yield made
    made.stop()


# OpenAI's client calls what its websockets library has only just called old.
@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")
def test_a_turn_is_transcribed_through_the_proxy(hearing: Server) -> None:
    address = f"{hearing.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
    with pytest.raises(InvalidStatus) as refused, connect(address):
        pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"
    asked = {"intent": "transcription"}
    with hearing.client() as client, client.realtime.connect(extra_query=asked) as voice:
        assert voice.recv().type == "session.created"
        for _ in range(2):
            for _ in range(5):
                voice.input_audio_buffer.append(audio=base64.b64encode(bytes(4_800)).decode())
            voice.input_audio_buffer.commit()
            while True:
                event: Any = voice.recv()
                if event.type == f"{ITEM}.completed":
                    break
            assert event.usage.seconds == 0.5
    with hearing.http() as http:
        assert "switchboard_realtime_audio_seconds_total" in http.get("/metrics").text
