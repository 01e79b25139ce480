"""Typed, rolling and hand-over summaries through the real engine, by OpenAI's client."""

import datetime
from typing import Any

import openai
import orjson
import pytest
from openai.types.chat import ChatCompletion

from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
TURNS = [
    {"role": role, "text": text}
    for role, text in [
        ("customer", "Hello, I want to order two kettles for my office."),
        ("agent", "Hello! I can help you with that. Which colour would you like?"),
        ("customer", "Black, please. And they must be here by Friday."),
        ("agent", "Black is in stock. May I have your name and address, please?"),
        ("customer", "Alex Moreno, 12 Station Road. Is there a promotion now?"),
        ("agent", "Yes, ten percent off for two kettles or more until Sunday."),
        ("customer", "Great. What does it cost then, with the delivery?"),
        ("agent", "It is 54 dollars for both, and the delivery is free of charge."),
        ("customer", "That is fine with me. Can I pay by card?"),
        ("agent", "Of course you can. I have sent you a link for the payment."),
        ("customer", "Thank you, I have paid it."),
        ("agent", "I see it. Your order will be delivered on Thursday."),
    ]
]


def summarize(server: Server, lob: str = "sales", **fields: Any) -> ChatCompletion:
    body = {"lob": lob, "conversation": TURNS, "max_tokens": 120} | fields
    return server.client().post("/summaries", cast_to=ChatCompletion, body=body)


def structure(answer: ChatCompletion) -> dict[str, Any]:
    told = answer.choices[0].model_extra["structure"]
    assert isinstance(told, dict)
    return told


def test_a_typed_summary_holds_its_types(server: Server) -> None:
    answer = summarize(server, structured=True)
    told = structure(answer)
    assert answer.choices[0].finish_reason == "stop"
    assert told["complete"] is True
    assert told["fields"] == orjson.loads(answer.choices[0].message.content or "")
    assert isinstance(told["fields"]["bought"], bool)
    assert told["fields"]["mood"] in {"calm", "angry", None}
    due = told["fields"]["due"]
    assert due is None or datetime.date.fromisoformat(due)


def test_a_cut_structure_is_never_complete(server: Server) -> None:
    answer = summarize(server, structured=True, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert structure(answer)["complete"] is False


def test_a_stream_says_it_in_its_last_event_with_a_choice(server: Server) -> None:
    body = {"lob": "sales", "conversation": TURNS, "structured": True, "max_tokens": 120}
    with server.http() as http:
        said = http.post("/v1/summaries", json=body | {"stream": True})
    events = [orjson.loads(one[6:]) for one in said.text.splitlines() if one.startswith("data: {")]
    choices = [choice for event in events for choice in event["choices"]]
    assert [one for one in choices if "structure" in one] == choices[-1:]
    assert choices[-1]["structure"] == structure(summarize(server, structured=True))


def test_text_and_fields_come_of_one_call(server: Server) -> None:
    answer = summarize(server, structured="both", max_tokens=400)
    told = structure(answer)
    assert told["complete"] is (answer.choices[0].finish_reason == "stop")
    assert answer.choices[0].message.content.lstrip(" {\n").startswith('"summary"')
    if told["complete"]:
        assert told["text"]
        assert told["fields"].keys() == {"bought", "mood", "due"}


def test_a_rolling_summary_costs_only_what_is_new(server: Server) -> None:
    before = summarize(server, conversation=TURNS[:10], max_tokens=40)
    rolled = {"summary": before.choices[0].message.content, "turns": 10}
    whole, rolling = summarize(server), summarize(server, previous=rolled)
    assert rolling.choices[0].message.content
    assert rolling.usage.prompt_tokens < whole.usage.prompt_tokens
    saved = 1 - rolling.usage.prompt_tokens / whole.usage.prompt_tokens
    figures = f"{whole.usage.prompt_tokens} tokens, rolling {rolling.usage.prompt_tokens}"
    print(f"{figures}: {saved:.0%} saved")  # noqa: T201
    with server.http() as http:
        kept = http.get(f"/v1/interactions/{rolling.id}").json()
    assert kept["request"]["previous"] == rolled
    assert "two kettles for my office" not in kept["messages"][-1]["content"]


def test_more_turns_than_there_are_is_refused_by_name(server: Server) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        summarize(server, previous={"summary": "x", "turns": 13})
    assert refused.value.param == "previous.turns"


def test_a_hand_over_is_asked_by_its_own_prompt(server: Server) -> None:
    answer = summarize(server, "care", **{"for": "handover"}, max_tokens=24)
    with server.http() as http:
        kept = http.get(f"/v1/interactions/{answer.id}").json()
    assert kept["prompt_name"] == "default/handover"
    assert (kept["task"], kept["request"]["for"]) == ("summary", "handover")
