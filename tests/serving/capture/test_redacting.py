"""A redacted record: no seeded value in it, the shape of its JSON as it was."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serving.capture.redacting import redacted
from serving.store.records import InteractionRecord

KEY = b"k" * 32
CARD = "4111 1111 1111 1111"


def record(**fields: Any) -> InteractionRecord:
    return InteractionRecord.model_validate(
        {
            "id": "chatcmpl-0190a7b1c2d34e5f8a9b0c1d2e3f4a5b",
            "lob": "care",
            "task": "chat",
            "endpoint": "/v1/chat/completions",
            "model_requested": "care",
            "base_model": "base",
            "request": {},
            "messages": [],
            "response": {},
            "output": "",
            "latency_ms": 1.0,
            "conversation_id": "c-1",
            "replica": "r",
            "stream": False,
            "status": "completed",
        }
        | fields
    )


def test_a_text_is_the_same_wherever_it_stands() -> None:
    said = f"My card is {CARD}."
    message = {"role": "user", "content": said}
    stored = redacted(
        record(
            request={"messages": [message], "model": "care"},
            messages=[message],
            response={"choices": [{"index": 0, "message": {"content": said}}]},
            output=said,
            steps=[{"step": "base", "outcome": "failed", "reason": f"refused: {CARD}"}],
        ),
        KEY,
    ).record
    assert CARD not in stored.model_dump_json()
    assert stored.messages[0]["content"] == stored.output
    assert stored.request["messages"] == stored.messages
    assert stored.response["choices"][0]["message"]["content"] == stored.output
    assert stored.steps[0]["step"] == "base"


def test_names_that_the_api_defines_stay() -> None:
    response = {"id": "chatcmpl-4111111111111111", "model": "care@7", "object": "chat.completion"}
    stored = redacted(record(response=response), KEY).record
    assert stored.response == response


def test_what_the_client_names_is_read_whatever_its_name() -> None:
    stored = redacted(record(request={"metadata": {"id": CARD}}), KEY).record
    assert CARD not in str(stored.request)


def test_a_line_s_own_fields_are_read_whatever_their_names() -> None:
    structure = {"complete": True, "fields": {"status": CARD, "model": [CARD]}}
    response = {"choices": [{"index": 0, "structure": structure}]}
    stored = redacted(record(response=response), KEY).record
    assert CARD not in str(stored.response)


def test_a_tools_arguments_are_read_and_stay_json() -> None:
    call = {"id": "call_1", "function": {"name": "pay", "arguments": f'{{"card": "{CARD}"}}'}}
    stored = redacted(record(response={"tool_calls": [call]}), KEY).record
    arguments = stored.response["tool_calls"][0]["function"]["arguments"]
    assert CARD not in arguments
    assert len(arguments) == len(call["function"]["arguments"])  # type: ignore[index,arg-type]


def test_what_spells_a_text_in_pieces_is_left_out() -> None:
    stored = redacted(
        record(
            request={"logprobs": True, "prompt": [41, 11], "image": "data:image/png;base64,AAAA"},
            response={"logprobs": {"content": [{"token": "4111", "bytes": [52]}]}},
        ),
        KEY,
    ).record
    assert stored.request == {"logprobs": True, "prompt": [], "image": "data:,"}
    assert stored.response == {"logprobs": None}


def test_who_asks_is_a_number_that_is_the_same_everywhere() -> None:
    users = {
        redacted(record(request={"user": "jo@corp.com"}, conversation_id=id_), KEY).record.request[
            "user"
        ]
        for id_ in ("c-1", "c-2", None)
    }
    assert len(users) == 1
    assert "jo" not in users.pop()


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.sampled_from([f"card {CARD}", "jo.doe@mail.com", "order number 447123", "+49 171 2345678"]),
)
NAMES = st.sampled_from(["content", "text", "role", "id", "metadata", "user", "arguments", "x"])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [] if value and all(type(v) is int for v in value) else [shape(v) for v in value]
    return type(value).__name__


@given(st.dictionaries(NAMES, JSON, max_size=3), st.text(max_size=20))
def test_redacting_keeps_the_shape_and_is_idempotent(request: dict[str, Any], said: str) -> None:
    before = record(request=request, messages=[{"role": "user", "content": said}], output=said)
    once = redacted(before, KEY)
    assert shape(once.record.request) == shape(request)
    again = redacted(once.record, KEY, once.known)
    assert again.record == once.record
    assert again.known == once.known


def test_the_turns_of_a_task_are_redacted_as_its_messages_are() -> None:
    turns = [
        {"role": "customer", "text": f"My card is {CARD}."},
        {"role": "knowledge", "text": f"Known is {CARD}.", "passage": f"of-{CARD}"},
    ]
    said = f"customer: {turns[0]['text']}\n[{turns[1]['passage']}] {turns[1]['text']}"
    before = {"turns": 2, "summary": f"They paid by {CARD}."}
    stored = redacted(
        record(
            task="summary",
            request={
                "messages": [{"role": "user", "content": said}],
                "conversation": turns,
                "previous": before,
            },
            messages=[{"role": "user", "content": said}],
        ),
        KEY,
    ).record
    assert CARD not in stored.model_dump_json()
    first, found = stored.request["conversation"]
    assert [first["role"], found["role"]] == ["customer", "knowledge"]
    instead = first["text"].removeprefix("My card is ").removesuffix(".")
    assert instead in found["text"]
    assert stored.request["previous"] == {"turns": 2, "summary": f"They paid by {instead}."}
    rendered = f"customer: {first['text']}\n[{found['passage']}] {found['text']}"
    assert stored.messages[0]["content"] == rendered
