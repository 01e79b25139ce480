"""An answer that a guard refused, in each API's own form."""

from typing import Any

import orjson

from serving.gateway.guarding.filtered import events, header, replaced, written

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":"secret"}'}}
CHAT: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "model": "m",
    "prompt_logprobs": ["secret"],
    "usage": {"completion_tokens": 3},
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"},
        {
            "index": 1,
            "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
            "logprobs": {"content": [{"token": "secret"}]},
            "finish_reason": "tool_calls",
        },
    ],
}
RESPONSE: dict[str, Any] = {
    "id": "r",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "secret"}]}],
}


def test_everything_that_the_model_wrote_is_read() -> None:
    said = written(CHAT)
    assert said[0] == "fine"
    assert "secret" in said[1]
    assert written({"choices": [{"index": 0, "text": "a"}]}) == {0: "a"}
    assert written(RESPONSE) == {0: "secret"}


def test_only_the_choice_that_is_refused_is_emptied() -> None:
    first, second = replaced(CHAT, {1})["choices"]
    assert first == CHAT["choices"][0]
    assert (second["index"], second["finish_reason"]) == (1, "content_filter")
    assert second["message"] == {"role": "assistant", "content": ""}
    assert "secret" not in orjson.dumps(replaced(CHAT, {1})).decode()


def test_a_response_is_incomplete_for_that_reason() -> None:
    empty = replaced(RESPONSE, {0})
    assert (empty["status"], empty["output"]) == ("incomplete", [])
    assert empty["incomplete_details"] == {"reason": "content_filter"}
    (event,) = events(RESPONSE)
    assert event.startswith(b"event: response.incomplete\ndata: {")


def test_a_completion_has_an_empty_text() -> None:
    (choice,) = replaced({"choices": [{"index": 0, "text": "secret"}]}, {0})["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "content_filter")
    *first, done = events({"choices": [{"index": 0, "text": "secret"}]})
    assert done == b"data: [DONE]\n\n"
    assert b"secret" not in b"".join(first)


def test_a_stream_ends_each_choice_then_counts_tokens() -> None:
    one, two, usage, done = events(CHAT)
    assert done == b"data: [DONE]\n\n"
    for event in (one, two):
        content = orjson.loads(event.removeprefix(b"data: "))
        assert content["object"] == "chat.completion.chunk"
        assert content["choices"][0]["finish_reason"] == "content_filter"
    assert b'"choices":[],"usage"' in usage
    assert b"secret" not in one + two + usage


def test_the_header_names_the_gravest_action() -> None:
    found = [{"action": "flag"}, {"action": "block"}, {"action": "review"}]
    assert header(found) == (b"x-switchboard-guard", b"block")
