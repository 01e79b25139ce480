"""Structured summaries through the gateway: each answer says whether its structure is complete."""

from typing import Any

import orjson
import pytest

from serving.asgi import Message, Receive, Scope, Send
from serving.config.lobs import Lob
from serving.gateway.structured import telling
from tests.serving.gateway.conftest import Site

FIELDS = Lob.model_validate(
    {"summary_fields": {"issue": "What was wrong", "due": {"type": "date", "description": "When"}}}
).summary_fields
GOOD = '{"issue":"It broke.","due":null}'
TURNS = [{"role": "customer", "text": "My kettle broke."}, {"role": "agent", "text": "Sorry."}]


async def ask(site: Site, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The answer, or a stream's events; and what is stored of it."""
    site.guard({}, summary_fields=FIELDS)
    async with await site.http(["service"], ["care"]) as http:
        body = {"lob": "care", "conversation": TURNS, "structured": True} | fields
        answer = await http.post("/v1/summaries", json=body)
    assert answer.status_code == 200, answer.text
    (kept,) = await site.stored()
    if not fields.get("stream"):
        return [answer.json()], kept.model_dump()
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    assert answer.text.endswith("data: [DONE]\n\n")
    return [orjson.loads(line) for line in lines], kept.model_dump()


def structures(answers: list[dict[str, Any]]) -> list[Any]:
    return [c["structure"] for one in answers for c in one["choices"] if "structure" in c]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_whole_structure_is_complete_and_stored_as_asked(site: Site, stream: bool) -> None:
    site.says = GOOD
    answers, kept = await ask(site, stream=stream)
    fields = {"issue": "It broke.", "due": None}
    assert structures(answers) == [{"complete": True, "fields": fields}]
    assert kept["request"]["structured"] is True
    assert "structured" not in site.asked[0][1]
    assert site.asked[0][1]["response_format"]["type"] == "json_schema"
    assert orjson.loads(kept["output"]) == fields


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_structure_says_so(site: Site, stream: bool) -> None:
    site.says, site.ends = '{"issue":"x","due":"2026-', "length"
    answers, _ = await ask(site, stream=stream)
    assert structures(answers) == [{"complete": False, "fields": {"issue": "x"}}]
    told = [choice for one in answers for choice in one["choices"] if "structure" in choice]
    assert told[0]["finish_reason"] == "length"


async def test_text_and_fields_come_of_one_call(site: Site) -> None:
    site.says = '{"summary":"A broken kettle.","issue":"It broke.","due":null}'
    answers, _ = await ask(site, structured="both")
    assert structures(answers) == [
        {
            "complete": True,
            "text": "A broken kettle.",
            "fields": {"issue": "It broke.", "due": None},
        }
    ]
    assert len(site.asked) == 1


async def test_a_summary_that_is_a_text_has_no_structure(site: Site) -> None:
    answers, kept = await ask(site, structured=False)
    assert structures(answers) == []
    assert "structured" not in kept["request"]


async def test_a_guard_that_refuses_leaves_no_complete_structure(site: Site) -> None:
    site.says = GOOD.replace("It broke.", "You must buy")
    guards = {"output": {"content": {"action": "block", "profanity": ["must buy"]}}}
    site.guard(guards, summary_fields=FIELDS)
    async with await site.http(["service"], ["care"]) as http:
        body = {"lob": "care", "conversation": TURNS, "structured": True}
        answer = await http.post("/v1/summaries", json=body)
    (choice,) = answer.json()["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["structure"] == {"complete": False, "fields": {}}


async def test_a_rolling_summary_is_stored_as_one(site: Site) -> None:
    before = {"summary": {"issue": "It broke."}, "turns": 1}
    _, kept = await ask(site, previous=before)
    assert kept["request"]["previous"] == {"turns": 1, "summary": '{"issue":"It broke."}'}
    assert kept["request"]["conversation"] == TURNS[1:]
    said = site.asked[0][1]["messages"][-1]["content"]
    assert said == 'summary so far: {"issue":"It broke."}\nagent: Sorry.'


async def test_a_hand_over_is_asked_by_its_own_prompt(site: Site) -> None:
    answers, kept = await ask(site, structured=False, **{"for": "handover"})
    assert (kept["task"], kept["prompt_name"]) == ("summary", "default/handover")
    assert kept["request"]["for"] == "handover"
    assert answers[0]["choices"][0]["message"]["content"] == "of care@2"


async def answered(bodies: list[bytes], *, stream: bool, status: int = 200) -> list[bytes]:
    """What is passed on of an answer in these pieces."""

    async def app(_: Scope, __: Receive, send: Send) -> None:
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    got: list[Message] = []

    async def keep(message: Message) -> None:
        got.append(message)

    async def silence() -> Message:
        return {"type": "http.disconnect"}

    def read(text: str, reason: str | None) -> dict[str, Any]:
        return {"of": text, "reason": reason}

    await telling.adding(app, "structure", read, stream=stream)({}, silence, keep)
    if not stream and status == 200:
        sent = dict(got[0]["headers"])[b"content-length"]
        assert int(sent) == sum(len(one.get("body", b"")) for one in got)
    return [one["body"] for one in got if one.get("body")]


async def test_each_choice_is_read_by_itself_however_the_bytes_are_cut() -> None:
    def event(index: int, text: str | None, reason: str | None = None) -> bytes:
        delta = {} if text is None else {"content": text}
        choice = {"index": index, "delta": delta, "finish_reason": reason}
        return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"

    sent = [event(0, "a"), event(1, "b"), event(1, "c", "length"), event(0, None, "stop")]
    done = b"data: [DONE]\n\n"
    whole = b"".join(sent) + done
    for size in (1, 7, len(whole)):
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        got = await answered(pieces, stream=True)
        assert got[:2] == sent[:2]
        assert got[-1] == done
        told = [orjson.loads(one[6:])["choices"][0]["structure"] for one in got[2:4]]
        assert told == [{"of": "bc", "reason": "length"}, {"of": "a", "reason": "stop"}]


async def test_an_error_is_passed_on_as_it_is() -> None:
    body = b'{"error": {"message": "no"}, "choices": [{"message": {"content": "x"}}]}'
    assert await answered([body], stream=False, status=503) == [body]
    event = b'data: {"error": {"message": "no"}}\n\n'
    assert await answered([event], stream=True) == [event]
    assert await answered([b"no JSON"], stream=False) == [b"no JSON"]
