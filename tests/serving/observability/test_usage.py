"""Token counts, read from the last bytes of real shapes of answers."""

import json
from typing import Any

import orjson
import pytest

from serving.observability.usage import TAIL_BYTES, tokens

CHAT = {"choices": [{"message": {"content": "x" * 9000}}]}
USAGE = {"prompt_tokens": 12, "total_tokens": 19, "completion_tokens": 7}


@pytest.mark.parametrize("dump", [orjson.dumps, lambda v: json.dumps(v).encode()])
def test_counts_are_read_from_a_whole_answer(dump: Any) -> None:
    assert tokens([dump(CHAT | {"usage": USAGE})]) == (12, 7)


def test_counts_are_read_from_the_end_of_a_stream() -> None:
    chunks = [b"data: " + orjson.dumps({"choices": [{"delta": {"content": "x"}}]}) + b"\n\n"] * 99
    chunks.append(b"data: " + orjson.dumps({"choices": [], "usage": USAGE}) + b"\n\n")
    assert tokens([*chunks, b"data: [DONE]\n\n"]) == (12, 7)


def test_counts_of_the_responses_api_are_read() -> None:
    event = {"response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}
    assert tokens([b"event: response.completed\ndata: " + orjson.dumps(event) + b"\n\n"]) == (3, 4)


def test_the_last_of_several_counts_counts() -> None:
    events = [{"usage": {"completion_tokens": count}} for count in (1, 2, 3)]
    assert tokens([orjson.dumps(event) for event in events]) == (None, 3)


def test_a_text_cannot_pass_for_a_count() -> None:
    said = 'I say "completion_tokens": 99 and "prompt_tokens":98'
    answer = {"usage": USAGE, "choices": [{"message": {"content": said}}]}
    assert tokens([orjson.dumps(answer)]) == (12, 7)
    assert tokens([orjson.dumps({"choices": [{"message": {"content": said}}]})]) == (None, None)


def test_no_more_than_the_tail_is_read() -> None:
    assert tokens([]) == (None, None)
    early = orjson.dumps({"usage": USAGE})
    assert tokens([early, b" " * TAIL_BYTES]) == (None, None)
