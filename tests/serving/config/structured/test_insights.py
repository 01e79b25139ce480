"""A line's intents and entities, and the schema that a request for them comes to."""

import pytest
from pydantic import ValidationError

from serving.config.base import explain
from serving.config.settings import Settings
from serving.config.structured.fields import valid
from serving.config.structured.insights import Insights

LISTED = Insights(intents={"refund": "Wants money back"}, entities={"order": "Its number"})
ALL = ("intent", "sentiment", "entities")


def test_an_answer_has_an_intent_of_the_list_and_a_sentiment_for_each_turn() -> None:
    schema = LISTED.answer_schema(ALL, [0, 2])
    good = {
        "intent": "refund",
        "sentiment": {"0": "negative", "2": "neutral"},
        "entities": [{"name": "order", "turn": 0, "value": "A-1"}],
    }
    assert valid(good, schema)
    assert valid(good | {"intent": None, "entities": []}, schema)
    for wrong in (
        {"intent": "party"},
        {"sentiment": {"0": "negative"}},
        {"sentiment": {"0": "negative", "2": "fine"}},
        {"entities": [{"name": "city", "turn": 0, "value": "x"}]},
        {"entities": [{"name": "order", "turn": -1, "value": "x"}]},
        {"entities": [{"name": "order", "turn": 0, "value": ""}]},
    ):
        assert not valid(good | wrong, schema), wrong


def test_only_what_is_wanted_is_asked() -> None:
    assert list(LISTED.answer_schema(["sentiment"], [0])["properties"]) == ["sentiment"]
    assert list(LISTED.meanings(["entities", "intent"])) == ["intent", "entities"]


def test_without_a_list_an_intent_is_a_few_words() -> None:
    free = Insights().answer_schema(["intent"], [])
    assert valid({"intent": "a late parcel"}, free)
    assert not valid({"intent": "x" * 81}, free)
    assert "few words" in Insights().meanings(["intent"])["intent"]
    assert '"refund" (Wants money back)' in LISTED.meanings(["intent"])["intent"]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"intent": {"a": "b"}}, "lobs.care.insights.intent.a: unknown key"),
        ({"intents": {}}, "lobs.care.insights.intents"),
        ({"entities": {"order": ""}}, "lobs.care.insights.entities.order"),
    ],
)
def test_a_fault_is_told_with_its_key(given: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"model": "m", "lobs": {"care": {"insights": given}}})
    assert key in explain(refused.value)
