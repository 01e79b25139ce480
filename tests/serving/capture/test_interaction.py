"""Capture: the record made from what vLLM really sends, streamed or not."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.capture.interaction import Capture, to_record


def capture(
    *chunks: str, stream: bool = True, endpoint: str = "/v1/chat/completions", **fields: Any
) -> Capture:
    made = Capture(
        id="chatcmpl-1",
        endpoint=endpoint,
        task="chat",
        lob="care",
        model_requested="care",
        version="care@7",
        base_model="base",
        key_id="key_1",
        replica="r1",
        request=json.dumps(
            {"model": "care@7", "messages": [{"role": "user", "content": "Hi"}]}
        ).encode(),
        stream=stream,
        conversation_id="c1",
        turn_position=1,
        **fields,
    )
    made.chunks = [chunk.encode() for chunk in chunks]
    made.first = made.clock + 0.25
    return made


def event(**body: Any) -> str:
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "care@7"}
    return f"data: {json.dumps(common | body)}\n\n"


def delta(content: str | None, index: int = 0, **more: Any) -> str:
    return event(choices=[{"index": index, "delta": {"content": content}} | more])


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({}, (None, None)),
        ({"show": True}, (None, None)),
        ({"show": False, "holdback": 0.05}, (0.05, False)),
        ({"show": True, "holdback": 0.05}, (0.05, True)),
    ],
)
def test_a_draw_is_stored_where_one_was_made(
    fields: dict[str, Any], stored: tuple[float | None, bool | None]
) -> None:
    record = to_record(capture(**fields).payload("completed"))
    assert (record.holdback, record.shown_by_draw) == stored


def test_journals_from_before_the_holdback_are_read() -> None:
    payload = json.loads(capture().payload("completed"))
    del payload["shown_by_draw"], payload["holdback"]
    record = to_record(json.dumps(payload).encode())
    assert (record.holdback, record.shown_by_draw) == (None, None)


def test_the_audience_is_kept_with_the_request_and_an_older_journal_has_none() -> None:
    made = capture(audience="customer")
    assert b"audience" not in made.request  # which is what the engine gets
    payload = json.loads(made.payload("completed"))
    assert to_record(json.dumps(payload).encode()).request["audience"] == "customer"
    del payload["audience"]
    assert "audience" not in to_record(json.dumps(payload).encode()).request


def test_streamed_chat_is_folded_into_one_body() -> None:
    record = to_record(
        capture(
            event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
            delta("Hel"),
            delta("lo, née"),
            delta("", finish_reason="stop"),
            event(choices=[], usage={"prompt_tokens": 12, "completion_tokens": 2}),
            "data: [DONE]\n\n",
        ).payload("completed")
    )
    assert record.output == "Hello, née"
    assert record.finish_reason == "stop"
    assert (record.prompt_tokens, record.completion_tokens) == (12, 2)
    assert record.response["object"] == "chat.completion"
    assert record.response["choices"][0]["message"]["content"] == "Hello, née"
    assert record.ttft_ms == pytest.approx(250)
    assert record.messages == [{"role": "user", "content": "Hi"}]


def test_what_guards_found_is_kept_and_an_older_journal_holds_none() -> None:
    found = {"guard": "input.injection", "action": "flag", "kind": "injection"}
    payload = capture("data: [DONE]\n\n", guards=[found]).payload("completed")
    assert to_record(payload).guards == [found]
    old = {key: value for key, value in json.loads(payload).items() if key != "guards"}
    assert to_record(json.dumps(old).encode()).guards == []


def test_steps_are_kept_and_an_older_journal_has_none() -> None:
    step = {"step": "care@7", "outcome": "answered", "reason": None, "ms": 1.5}
    payload = capture("data: [DONE]\n\n", steps=[step]).payload("completed")
    assert to_record(payload).steps == [step]
    old = {key: value for key, value in json.loads(payload).items() if key != "steps"}
    assert to_record(json.dumps(old).encode()).steps == []


def test_interleaved_choices_keep_apart() -> None:
    record = to_record(
        capture(delta("a"), delta("x", 1), delta("b"), delta("y", 1)).payload("completed")
    )
    assert [c["message"]["content"] for c in record.response["choices"]] == ["ab", "xy"]


def test_streamed_tool_calls_are_joined() -> None:
    def call(**function: str) -> str:
        piece = {"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}
        return event(choices=[{"index": 0, "delta": piece}])

    record = to_record(
        capture(
            call(name="look_up", arguments=""), call(arguments='{"order"'), call(arguments=": 7}")
        ).payload("completed")
    )
    (made,) = record.response["choices"][0]["message"]["tool_calls"]
    assert made["function"] == {"name": "look_up", "arguments": '{"order": 7}'}


def test_streamed_completion_text_is_joined() -> None:
    record = to_record(
        capture(
            event(object="text_completion", choices=[{"index": 0, "text": "one "}]),
            event(
                object="text_completion",
                choices=[{"index": 0, "text": "two", "finish_reason": "length"}],
            ),
            endpoint="/v1/completions",
        ).payload("completed")
    )
    assert (record.output, record.finish_reason) == ("one two", "length")


def test_streamed_response_takes_the_last_events_body() -> None:
    final = {
        "id": "resp_1",
        "status": "completed",
        "usage": {"input_tokens": 3, "output_tokens": 4},
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}],
    }
    begun = {"id": "resp_1", "status": "in_progress", "output": []}
    events = [("created", begun), ("completed", final)]
    chunks = [
        f"event: response.{name}\ndata: {json.dumps({'response': body})}\n\n"
        for name, body in events
    ]
    record = to_record(capture(*chunks, endpoint="/v1/responses").payload("completed"))
    assert (record.output, record.finish_reason) == ("Hello", "completed")
    assert (record.prompt_tokens, record.completion_tokens) == (3, 4)


def test_plain_body_is_kept_whole() -> None:
    body = {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    record = to_record(capture(json.dumps(body), stream=False).payload("completed"))
    assert record.response == body
    assert record.output == "Hi"


def test_aborted_stream_keeps_what_was_sent() -> None:
    record = to_record(capture(delta("Hel"), 'data: {"id": "chatcm').payload("aborted"))
    assert (record.output, record.status) == ("Hel", "aborted")


def test_aborted_plain_body_is_an_empty_answer() -> None:
    record = to_record(capture('{"id": "chatcm', stream=False).payload("aborted"))
    assert (record.output, record.response) == ("", {})


def test_a_journal_of_an_earlier_release_is_drained() -> None:
    """Its names were the capture's own; see `_RENAMED`."""
    made = capture("data: [DONE]\n\n", prompt_name="p", prompt_hash="h", show=False, holdback=0.5)
    payload = made.payload("completed")
    old = json.loads(payload)
    old["prompt"] = [old.pop("prompt_name"), old.pop("prompt_hash")]
    old["show"] = old.pop("shown_by_draw")
    old["model"], old["base"] = old.pop("model_requested"), old.pop("base_model")
    old["turn"] = old.pop("turn_position")
    assert to_record(json.dumps(old).encode()) == to_record(payload)


def test_a_draft_is_part_of_the_answer_and_no_message() -> None:
    said = {"role": "user", "content": "Hi"}
    draft = {"role": "assistant", "content": "I am"}
    made = capture("data: [DONE]\n\n")
    made.request = json.dumps({"messages": [said, draft], "continue_final_message": True}).encode()
    record = to_record(made.payload("completed"))
    assert record.messages == [said]
    assert record.request["messages"][-1] == draft


def test_a_payload_that_is_no_capture_is_refused() -> None:
    for payload in (b"{}", b"[]", b"\xff", b"null"):
        with pytest.raises(ValueError):  # noqa: PT011
            to_record(payload)


def test_stream_that_ends_in_an_error_is_marked() -> None:
    record = to_record(
        capture(delta("Hel"), event(error={"message": "boom"}), "data: [DONE]\n\n").payload(
            "completed"
        )
    )
    assert (record.output, record.status) == ("Hel", "error")


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, also within a character or an event."""
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


@given(texts=TEXTS, places=st.lists(st.integers(0, 10_000), max_size=10), escaped=st.booleans())
def test_what_is_stored_is_what_was_streamed_whatever_the_text_and_the_chunks(
    texts: list[str], places: list[int], escaped: bool
) -> None:
    def chat(text: str) -> str:
        body = {"choices": [{"index": 0, "delta": {"content": text}}]}
        return f"data: {json.dumps(body, ensure_ascii=escaped)}\n\n"

    def completion(text: str) -> str:
        body = {"choices": [{"index": 0, "text": text}]}
        return f"data: {json.dumps(body, ensure_ascii=escaped)}\n\n"

    for shape in (chat, completion):
        made = capture()
        made.chunks = cut("".join(map(shape, [*texts, "."])).encode() + b"data: [DONE]\n\n", places)
        assert to_record(made.payload("completed")).output == "".join(texts) + "."
    whole = capture(stream=False)
    message = {"role": "assistant", "content": "".join(texts)}
    content = json.dumps({"choices": [{"index": 0, "message": message}]}, ensure_ascii=escaped)
    whole.chunks = cut(content.encode(), places)
    assert to_record(whole.payload("completed")).output == "".join(texts)


def test_the_text_of_another_candidate_is_not_the_output_of_the_first() -> None:
    record = to_record(capture(delta("x", 1)).payload("aborted"))
    assert record.output == ""
    assert record.response["choices"][0]["message"]["content"] == "x"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "index delta text message content finish_reason tool_calls function name arguments "
                "id output status".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    body=st.dictionaries(st.sampled_from(["choices", "usage", "output", "response"]), JSON),
    stream=st.booleans(),
)
def test_an_answer_of_any_shape_becomes_a_record(body: dict[str, Any], stream: bool) -> None:
    sent = f"data: {json.dumps(body)}\n\n" if stream else json.dumps(body)
    assert to_record(capture(sent, stream=stream).payload("completed")).id == "chatcmpl-1"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"choices": None}, {"choices": [{"delta": {"content": "Hi"}}]}),
        ({"choices": [{"delta": {"content": "H"}}]}, {"choices": [{"delta": {"content": "i"}}]}),
        (
            {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "H"}]}}]},
            {"choices": [{"index": 0, "delta": {"content": "i"}}]},
        ),
    ],
)
def test_what_an_upstream_leaves_out_or_sends_in_parts_is_read(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    record = to_record(capture(event(**first), event(**second)).payload("completed"))
    assert record.output == "Hi"


def test_events_without_a_space_and_with_carriage_returns_are_read() -> None:
    chunk = delta("Hi").replace("data: ", "data:").replace("\n", "\r\n")
    assert to_record(capture(chunk).payload("completed")).output == "Hi"


@given(texts=TEXTS)
def test_pairs_of_escapes_that_two_deltas_share_are_joined(texts: list[str]) -> None:
    units = "".join(texts).encode("utf-16-le")
    halves = [
        units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)
    ]
    record = to_record(capture(*(delta(half) for half in [*halves, "."])).payload("completed"))
    assert record.output == "".join(texts) + "."


@pytest.mark.parametrize("stream", [True, False])
def test_a_lone_surrogate_is_replaced_and_the_rest_kept(stream: bool) -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "a\ud800b"}}]})
    sent = delta("a\ud800b") if stream else body
    record = to_record(capture(sent, stream=stream).payload("completed"))
    assert record.output == "a\ufffdb"
    record.model_dump_json()


def test_instructions_are_what_the_model_saw_first() -> None:
    made = capture("{}", stream=False, endpoint="/v1/responses")
    made.request = b'{"model": "care", "instructions": "Be brief.", "input": "Hi"}'
    assert to_record(made.payload("completed")).messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_what_was_asked_joins_the_request_and_older_journals_have_less() -> None:
    turns = [{"role": "customer", "text": "Hi"}]
    asked = {"conversation": turns, "previous": {"turns": 1, "summary": "It broke."}}
    made = capture(asked=asked)
    assert b"conversation" not in made.request  # which is what the engine gets
    payload = json.loads(made.payload("completed"))
    record = to_record(json.dumps(payload).encode())
    assert record.request["conversation"] == turns
    assert record.request["previous"] == asked["previous"]
    assert record.messages == [{"role": "user", "content": "Hi"}]
    payload["asked"] = {"previous": {"turns": 1}}
    record = to_record(json.dumps(payload).encode())
    assert record.request["previous"] == {"turns": 1}
    assert "conversation" not in record.request
    del payload["asked"]
    assert "previous" not in to_record(json.dumps(payload).encode()).request
