"""What the model was not sure of is a person's; the measure is taken out of what others see."""

import math
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from serving import endpoints
from serving.asgi import Message
from serving.capture.interaction import DONE
from serving.gateway.guarding.confidence import Measured, asking, verdict
from serving.store.reviews import queue
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.guarding.test_checks import ask, chat, events, said
from tests.serving.gateway.guarding.test_review import FALLBACK, SAID, hold

BELOW = {"low_confidence": {"below": 0.5}}
CHAT = "/v1/chat/completions"


def unknown() -> float:
    name = "switchboard_answer_confidence_unknown_total"
    return REGISTRY.get_sample_value(name, {"lob": "care"}) or 0.0


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (endpoints.CHAT_COMPLETIONS, {}, {"logprobs": True}),
        (endpoints.CHAT_COMPLETIONS, {"logprobs": False}, {"logprobs": True}),
        (endpoints.CHAT_COMPLETIONS, {"logprobs": True, "top_logprobs": 5}, {}),
        (endpoints.COMPLETIONS, {"prompt": "x"}, {"logprobs": 0}),
        (endpoints.COMPLETIONS, {"logprobs": 0}, {}),
        (endpoints.COMPLETIONS, {"logprobs": 3}, {}),
        (endpoints.COMPLETIONS, {"echo": True}, {}),
        (endpoints.RESPONSES, {}, {}),
    ],
)
def test_only_what_the_client_did_not_ask_for_is_asked_beside(
    path: str, body: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert asking(path, body) == fields
    assert [type(one) for one in asking(path, body).values()] == [type(v) for v in fields.values()]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_low_confidence_becomes_a_task(site: Site, stream: bool) -> None:
    site.sure = 0.3
    hold(site, {}, **BELOW)
    answer = await ask(site, CHAT, chat("Hello", stream=stream))
    assert answer.status_code == 200, answer.text
    text = said(answer) if stream else answer.json()["choices"][0]["message"]["content"]
    assert text == FALLBACK
    task = await queue.get(site.db, answer.headers["x-switchboard-review"])
    context = site.reviewing.context(task)
    assert context["text"].strip() == SAID
    (found,) = context["verdicts"]
    assert (found["guard"], found["kind"]) == ("reviews.low_confidence", "low_confidence")
    assert found["score"] == pytest.approx(0.7)
    assert found["reason"] == "The mean token probability is 0.30, below 0.5."
    assert found["span"] == [0, len(context["text"])]
    assert "logprob" not in orjson.dumps(context["response"]).decode().replace(
        '"logprobs":null', ""
    )
    (_, body) = site.asked[-1]
    assert body["logprobs"] is True
    (stored,) = await site.stored()
    assert "logprobs" not in stored.request, "only the engine was asked"
    assert stored.output.strip() == SAID


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_high_confidence_passes_as_if_it_had_not_been_measured(
    site: Site, stream: bool
) -> None:
    site.sure = 0.9
    hold(site, {})
    plain = await ask(site, CHAT, chat("Hello", stream=stream))
    hold(site, {}, **BELOW)
    answer = await ask(site, CHAT, chat("Hello", stream=stream))
    assert "x-switchboard-review" not in answer.headers
    assert "logprob" not in answer.text.replace('"logprobs":null', "")
    if stream:
        assert said(answer) == said(plain)
        assert len(events(answer)) == len(events(plain))
    else:
        assert answer.json()["choices"][0]["message"]["content"] == SAID
        assert int(answer.headers["content-length"]) == len(answer.content)


async def test_who_asks_for_probabilities_gets_them_and_is_measured_all_the_same(
    site: Site,
) -> None:
    hold(site, {}, **BELOW)
    site.sure = 0.9
    answer = await ask(site, CHAT, chat("Hello", logprobs=True))
    (choice,) = answer.json()["choices"]
    assert choice["logprobs"]["content"][0]["logprob"] == pytest.approx(math.log(0.9))
    site.sure = 0.2
    held = await ask(site, CHAT, chat("Hello", logprobs=True))
    assert held.json()["choices"][0]["message"]["content"] == FALLBACK
    assert held.json()["choices"][0]["logprobs"] is None


async def test_an_answer_without_probabilities_passes_and_is_counted(site: Site) -> None:
    hold(site, {}, **BELOW)
    before = unknown()
    answer = await ask(site, CHAT, chat("Hello"))
    assert answer.json()["choices"][0]["message"]["content"] == SAID
    assert unknown() == before + 1


async def test_what_blocks_goes_before_low_confidence(site: Site) -> None:
    site.sure = 0.1
    hold(site, {"output": {"content": {"action": "block", "competitors": ["Acme"]}}}, **BELOW)
    answer = await ask(site, CHAT, chat("Hello"))
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert "x-switchboard-review" not in answer.headers


def chunk(index: int, *logprobs: Any, text: str = "a") -> bytes:
    each = [{"token": "a", "logprob": one} for one in logprobs]
    choice = {"index": index, "delta": {"content": text}, "logprobs": {"content": each}}
    return b"data: " + orjson.dumps({"id": "1", "choices": [choice]}) + b"\n\n"


async def passed(measured: Measured, *bodies: bytes) -> None:
    await measured.send({"type": "http.response.start", "status": 200, "headers": []})
    for body in bodies:
        await measured.send({"type": "http.response.body", "body": body, "more_body": True})
    await measured.send({"type": "http.response.body", "body": b""})


async def test_a_streams_choices_are_added_up_apart_however_it_is_cut() -> None:
    whole = chunk(0, -1.0) + chunk(1, -3.0, -1.0) + chunk(0, -2.0, -3.0) + DONE
    for at in (1, 7, 40, len(whole) - 3):
        got: list[Message] = []

        async def send(message: Message) -> None:
            got.append(message)  # noqa: B023

        measured = Measured(send, stream=True, strip=True)
        await passed(measured, whole[:at], whole[at:])
        assert measured.confidence(0) == pytest.approx(math.exp(-2.0))
        assert measured.confidence(1) == pytest.approx(math.exp(-2.0))
        assert measured.confidence(2) is None
        body = b"".join(one.get("body", b"") for one in got)
        assert body.count(b'"logprobs":null') == 3
        assert body.endswith(DONE)
        assert got[-1].get("more_body", False) is False


@pytest.mark.parametrize("given", [[math.nan], [0.5], [], [None], ["-1"]])
async def test_what_is_no_log_probability_gives_no_confidence(given: list[Any]) -> None:
    async def send(_: Message) -> None:
        return

    measured = Measured(send, stream=False, strip=False)
    choice = {"index": 0, "text": "a", "logprobs": {"token_logprobs": given}}
    await passed(measured, orjson.dumps({"choices": [choice]}))
    assert measured.confidence(0) is None


async def test_a_completions_tokens_are_read_and_an_error_passes_as_it_is() -> None:
    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    measured = Measured(send, stream=False, strip=True)
    choice = {"index": 0, "text": "a", "logprobs": {"token_logprobs": [-0.5, -1.5]}}
    await passed(measured, orjson.dumps({"choices": [choice]}))
    assert measured.confidence(0) == pytest.approx(math.exp(-1.0))
    assert orjson.loads(got[-1]["body"])["choices"][0]["logprobs"] is None
    got.clear()
    refused = Measured(send, stream=True, strip=True)
    await refused.send({"type": "http.response.start", "status": 400, "headers": []})
    await refused.send({"type": "http.response.body", "body": b'{"error": {}}'})
    assert got[-1]["body"] == b'{"error": {}}'


def test_the_bound_itself_passes() -> None:
    assert verdict(0.5, 0.5, 9) is None
    assert verdict(None, 1.0, 9) is None
    assert verdict(0.4999, 0.5, 9) is not None
