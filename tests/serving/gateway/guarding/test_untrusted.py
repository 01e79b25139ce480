"""What of a request guards read."""

from typing import Any

import pytest

from serving import endpoints
from serving.config.lobs import Lob
from serving.gateway.guarding import untrusted
from serving.gateway.request import InferenceRequest, read


def asked(endpoint: str, sent: dict[str, Any]) -> InferenceRequest:
    return read(
        endpoint, sent, conversation_id=None, base="base", lobs={}, sampling_fields=frozenset()
    )


PARTS = [
    {"type": "text", "text": "b"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
]


def test_a_chat_s_untrusted_messages_are_read_in_order() -> None:
    messages = [
        {"role": "system", "content": "no"},
        {"role": "developer", "content": "no"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": PARTS},
        {"role": "tool", "content": "c"},
        {"role": "whoever", "content": "d"},
    ]
    of = untrusted.of(asked(endpoints.CHAT_COMPLETIONS, {"messages": messages}))
    assert (of.text, of.last, of.readable) == ("a\nb\nc\nd", "b", True)


@pytest.mark.parametrize(
    ("prompt", "text", "readable"),
    [("a", "a", True), (["a", "b"], "a\nb", True), ([1, 2], "", False), ([[1], [2]], "", False)],
)
def test_a_prompt_of_token_ids_is_not_readable(prompt: Any, text: str, readable: bool) -> None:
    of = untrusted.of(asked(endpoints.COMPLETIONS, {"prompt": prompt}))
    assert (of.text, of.readable) == (text, readable)


def test_a_response_s_input_may_hold_what_a_tool_gave() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "function_call", "name": "no", "arguments": "no"},
        {"type": "function_call_output", "call_id": "1", "output": "b"},
    ]
    of = untrusted.of(asked(endpoints.RESPONSES, {"input": items, "instructions": "no"}))
    assert (of.text, of.last) == ("a\nb", "a")


def test_a_previous_summary_is_untrusted_too_and_nothing_that_the_customer_said_last() -> None:
    sent = {
        "lob": "care",
        "conversation": [{"role": "customer", "text": "a"}, {"role": "agent", "text": "no"}],
        "previous": {"summary": "b", "turns": 1},
    }
    request = read(
        endpoints.SUMMARIES,
        sent,
        conversation_id=None,
        base="base",
        lobs={"care": Lob()},
        sampling_fields=frozenset(),
    )
    of = untrusted.of(request)
    assert (of.text, of.last) == ("b\na", "a")
