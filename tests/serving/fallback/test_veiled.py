"""An upstream that must not see personal values: what goes over the wire, and what comes back."""

import json
from typing import Any

import pytest

from serving.errors import UpstreamFailed
from tests.serving.fallback.test_upstream import CHAT, END, HEAD, chunk, made, serving

CARD, MAIL = "4111 1111 1111 1111", "jo.doe@mail.com"
MESSAGES = [{"role": "user", "content": f"My card is {CARD}, my mail {MAIL}."}]
ASKED = {"messages": MESSAGES, "user": "agent-7"}


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return chunk(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")


async def answers(*pieces: bytes, stream: bool, **changes: Any) -> tuple[bytes, str]:
    """Return what the client gets, and what the upstream has seen, as text."""
    got: list[bytes] = []

    async def send(message: Any) -> None:
        got.append(message.get("body", b""))

    async with serving(*pieces, redact=True, api_key=None, **changes) as (upstream, heard):
        body = upstream.body(CHAT, ASKED | {"stream": stream})
        await upstream.answer(CHAT, body, send, id="a", stream=stream)
        return b"".join(got), json.dumps(heard.body)


async def surrogate_of_the_mail() -> str:
    done = event({"content": ""}, "stop") + chunk(b"data: [DONE]\n\n") + END
    _, seen = await answers(HEAD, done, stream=True)
    return str(json.loads(seen)["messages"][0]["content"].split()[-1].rstrip("."))


async def test_the_upstream_sees_no_value_and_nobody_s_name() -> None:
    done = event({"content": "Hi"}, "stop") + chunk(b"data: [DONE]\n\n") + END
    _, seen = await answers(HEAD, done, stream=True)
    assert CARD not in seen
    assert MAIL not in seen
    assert "agent-7" not in seen


async def test_a_whole_answer_has_the_values_back() -> None:
    mail = await surrogate_of_the_mail()
    message = {"role": "assistant", "content": f"I wrote to {mail}."}
    logprobs = {"content": [{"token": "I", "logprob": 0.0, "bytes": None, "top_logprobs": []}]}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    body = json.dumps({"choices": [choice]}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    got, _ = await answers(head % len(body), body, stream=False)
    assert json.loads(got)["choices"][0]["message"]["content"] == f"I wrote to {MAIL}."


async def test_a_stream_has_the_values_back_however_the_upstream_cuts_it() -> None:
    mail = await surrogate_of_the_mail()
    half = len(mail) // 2
    pieces = [
        event({"role": "assistant", "content": "I wrote to "}),
        event({"content": mail[:half]}),
        event({"content": mail[half:]}),
        event({}, "stop"),
        chunk(b"data: [DONE]\n\n"),
    ]
    got, _ = await answers(HEAD, *pieces, END, stream=True)
    events = [json.loads(line[6:]) for line in got.split(b"\n\n") if line.startswith(b"data: {")]
    said = "".join(one["choices"][0]["delta"].get("content", "") for one in events)
    assert said == f"I wrote to {MAIL}"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_arguments_of_tools_are_lifted_by_themselves() -> None:
    mail = await surrogate_of_the_mail()
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "send"}}
    cut = len(mail) - 2
    pieces = [
        event({"tool_calls": [call]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": f'{{"to": "{mail[:cut]}'}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": f'{mail[cut:]}"}}'}}]}),
        event({}, "tool_calls"),
        chunk(b"data: [DONE]\n\n"),
    ]
    got, _ = await answers(HEAD, *pieces, END, stream=True)
    events = [json.loads(line[6:]) for line in got.split(b"\n\n") if line.startswith(b"data: {")]
    calls = [one for e in events for one in e["choices"][0]["delta"].get("tool_calls", [])]
    arguments = "".join(one["function"].get("arguments", "") for one in calls)
    assert json.loads(arguments) == {"to": MAIL}


async def test_what_cannot_be_redacted_does_not_leave() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    upstream = made("http://127.0.0.1:9/v1", redact=True, api_key=None)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    body = upstream.body(CHAT, {"messages": [{"role": "user", "content": [picture]}]})
    with pytest.raises(UpstreamFailed, match="only what can be redacted"):
        await upstream.answer(CHAT, body, send, id="a", stream=False)
    await upstream.close()
