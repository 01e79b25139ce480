"""The last events of a stream wait for what guards found."""

import orjson

from serving.gateway.guarding.ending import Ending, told

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
GUARDS = [{"guard": "output.content", "action": "flag"}]


def test_text_passes_and_the_end_waits_with_its_token_counts() -> None:
    ending = Ending()
    assert ending.take(TEXT) == [TEXT]
    assert ending.take(STOP) == []
    assert ending.take(USAGE) == []
    stop, usage = ending.close(GUARDS)
    assert orjson.loads(stop[6:])["guards"] == GUARDS
    assert usage == USAGE
    assert ending.close(GUARDS) == []


def test_the_end_of_one_of_several_choices_passes_with_the_next_text() -> None:
    ending = Ending()
    ending.take(STOP)
    assert ending.take(TEXT) == [STOP, TEXT]
    assert ending.take(STOP) == []
    assert ending.take(STOP) == [STOP]


def test_where_nothing_was_found_nothing_is_added() -> None:
    assert told(STOP, []) == STOP
    assert told(b": a comment\n\n", GUARDS) == b": a comment\n\n"


def test_a_response_says_it_in_its_last_event() -> None:
    last = b'event: response.completed\ndata: {"type":"response.completed"}\n\n'
    assert orjson.loads(told(last, GUARDS).split(b"data: ")[1])["guards"] == GUARDS
