"""Insights: entities stand where their spans say, and what does not fit is told."""

from typing import Any

import orjson
import pytest

from serving.config.prompts import Turn
from serving.config.structured.insights import Insights
from serving.errors import InvalidRequest
from serving.gateway.structured import insights
from tests.serving.gateway.conftest import Site

TURNS = [
    {"role": "customer", "text": "My order A-12 and A-13 are late. A-12!"},
    {"role": "agent", "text": "A-12 ships on Friday."},
]
ITS = Insights.model_validate(
    {"intents": {"late": "A late order"}, "entities": {"order": "Its number", "day": "When"}}
)
SAID: dict[str, Any] = {
    "intent": "late",
    "sentiment": {"0": "negative"},
    "entities": [
        {"name": "order", "turn": 0, "value": "A-12"},
        {"name": "order", "turn": 0, "value": "A-12"},
        {"name": "day", "turn": 0, "value": "Friday"},
        {"name": "order", "turn": 0, "value": "A-99"},
    ],
}
ENTITIES = [
    {"name": "order", "value": "A-12", "turn": 0, "span": [9, 13]},
    {"name": "order", "value": "A-12", "turn": 0, "span": [33, 37]},
    {"name": "day", "value": "Friday", "turn": 1, "span": [14, 20]},
]


async def ask(site: Site, said: Any = SAID, status: int = 200, **fields: Any) -> dict[str, Any]:
    site.guard({}, insights=ITS)
    site.says = said if isinstance(said, str) else orjson.dumps(said).decode()
    async with await site.http(["service"], ["care"]) as http:
        body = {"lob": "care", "conversation": TURNS, "conversation_id": "c"} | fields
        answer = await http.post("/v1/insights", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_is_told_is_what_the_model_said_and_a_turn_holds(site: Site) -> None:
    answer = await ask(site)
    assert answer["choices"][0]["insights"] == {
        "complete": True,
        "intent": "late",
        "sentiment": [{"turn": 0, "value": "negative"}],
        "entities": ENTITIES,
        "dropped": 1,
    }
    for one in ENTITIES:
        start, end = one["span"]
        assert TURNS[one["turn"]]["text"][start:end] == one["value"]
    ((_, body),) = site.asked
    assert "0 Customer: My order" in body["messages"][-1]["content"]
    (kept,) = await site.stored()
    assert (kept.task, kept.version, kept.conversation_id) == ("insight", "care@2", "c")
    assert kept.prompt_name == "default/insight"


async def test_only_what_is_wanted_is_asked_and_kept(site: Site) -> None:
    answer = await ask(site, {"intent": None}, want=["intent"])
    assert answer["choices"][0]["insights"] == {"complete": True, "intent": None}
    (kept,) = await site.stored()
    assert kept.request["want"] == ["intent"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("I cannot say.", {}),
        (SAID | {"intent": "party"}, {"sentiment": [{"turn": 0, "value": "negative"}]}),
        ('{"intent":"late","sentiment":{"0":"neg', {"intent": "late"}),
    ],
)
async def test_what_does_not_fit_is_200_and_not_complete(
    site: Site, said: Any, told: dict[str, Any]
) -> None:
    answer = await ask(site, said, want=["intent", "sentiment"])
    assert answer["choices"][0]["insights"] == {"complete": False} | told


async def test_guards_check_insights_but_not_for_claims(site: Site) -> None:
    guards = {"claims": {"action": "block"}}
    guards |= {"content": {"action": "block", "profanity": ["scoundrel"]}}
    site.guard({"output": guards})
    body = {"lob": "care", "conversation": TURNS, "want": ["intent"]}
    reasons = {}
    async with await site.http(["service"], ["care"]) as http:
        for intent in ("a refund of 500 dollars", "call him scoundrel"):
            site.says = orjson.dumps({"intent": intent}).decode()
            (choice,) = (await http.post("/v1/insights", json=body)).json()["choices"]
            reasons[choice["finish_reason"]] = choice["insights"]["complete"]
        site.says = "You get a refund of 500 dollars."
        claimed = await http.post("/v1/summaries", json=body | {"want": None})
    assert reasons == {"stop": True, "content_filter": False}
    assert claimed.json()["choices"][0]["finish_reason"] == "content_filter"


async def test_a_correction_must_be_of_the_schema(site: Site) -> None:
    answer = await ask(site, {"intent": None}, want=["intent"])
    async with await site.http(["service"], ["care"]) as http:
        for edit in ('{"intent": "party"}', "late", '{"intent": "la'):
            wrong = await http.post("/v1/feedback", json={"id": answer["id"], "edit": edit})
            assert wrong.status_code == 400, wrong.text
            assert wrong.json()["error"]["param"] == "edit"
        right = {"id": answer["id"], "edit": '{"intent": "late"}'}
        assert (await http.post("/v1/feedback", json=right)).status_code == 200


async def test_entities_need_a_list_of_their_kinds(site: Site) -> None:
    async with await site.http(["service"], ["sales"]) as http:
        body = {"lob": "sales", "conversation": TURNS, "want": ["entities"]}
        answer = await http.post("/v1/insights", json=body)
    assert answer.status_code == 400
    assert "lobs.sales.insights.entities" in answer.json()["error"]["message"]
    assert site.asked == []


def test_a_turn_that_does_not_exist_is_no_place() -> None:
    turns = [Turn("customer", "abc")]
    one = {"name": "x", "turn": 7, "value": "b"}
    assert insights.located([one], turns) == [
        {"name": "x", "value": "b", "turn": 0, "span": [1, 2]}
    ]
    assert insights.located([one | {"value": "z"}], turns) == []


def test_a_correction_of_another_form_is_refused() -> None:
    schema = ITS.answer_schema(["intent"], [])
    request = {"response_format": {"json_schema": {"schema": schema}}}
    insights.check_correction(request, '{"intent": null}')
    with pytest.raises(InvalidRequest):
        insights.check_correction(request, "null")
