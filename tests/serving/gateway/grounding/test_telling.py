"""Where in an answer the fields beside the engine's stand."""

import orjson
import pytest

from serving.gateway.grounding import telling

FIELDS = telling.fields({"grounding": "found", "passages": [{"id": "a"}]})
ENDS = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def test_an_answer_begins_with_them() -> None:
    told = telling.told(b'{"id":"1"}', FIELDS, stream=False)
    assert orjson.loads(told) == {"grounding": "found", "passages": [{"id": "a"}], "id": "1"}
    assert len(told) == len(b'{"id":"1"}') + len(FIELDS)


def test_a_stream_s_last_event_of_a_choice_has_them() -> None:
    told = telling.told(ENDS, FIELDS, stream=True)
    assert orjson.loads(told[6:])["passages"] == [{"id": "a"}]


@pytest.mark.parametrize(
    "chunk",
    [
        b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"finish_reason\\":\\"stop\\""}}]}\n\n',
        b'data: {"choices":[],"usage":{}}\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_other_events_stay_as_they_are(chunk: bytes) -> None:
    assert telling.told(chunk, FIELDS, stream=True) == chunk


def test_a_turn_that_is_held_back_offers_nothing() -> None:
    beside = {"passages": [1], "snippets": [2]}
    assert telling.to_show(beside, None) == telling.to_show(beside, True) == beside
    assert telling.to_show(beside, False) == {"passages": [1], "snippets": []}
    assert telling.to_show({"passages": [1]}, False) == {"passages": [1]}


def test_nothing_beside_is_nothing() -> None:
    assert telling.fields({}) == b""
