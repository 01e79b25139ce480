"""The typed fields of a summary: what of them is refused, and the schema that they come to."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from serving.config.base import explain
from serving.config.lobs import Lob
from serving.config.settings import Settings
from serving.config.structured.fields import meanings, schema, valid

TYPED: dict[str, Any] = {
    "issue": "What was wrong",
    "bought": {"type": "bool", "description": "Whether they bought", "required": True},
    "mood": {"type": "enum", "description": "How they felt", "values": ["calm", "angry"]},
    "offers": {"type": "list", "description": "What was offered", "example": ["10 % off"]},
    "due": {"type": "date", "description": "By when"},
    "refund": {"type": "money", "description": "What is paid back"},
}
FIELDS = Lob.model_validate({"summary_fields": TYPED}).summary_fields
GOOD: dict[str, Any] = {
    "issue": "",
    "bought": False,
    "mood": "calm",
    "offers": [],
    "due": "2026-02-28",
    "refund": {"amount": 12.5, "currency": "USD"},
}


def test_what_is_of_the_schema_is_valid_and_what_may_be_missing_is_null() -> None:
    assert valid(GOOD, schema(FIELDS))
    assert valid(GOOD | dict.fromkeys(["mood", "offers", "due", "refund"]), schema(FIELDS))


@pytest.mark.parametrize(
    "wrong",
    [
        {"issue": None},
        {"bought": None},
        {"bought": "yes"},
        {"mood": "happy"},
        {"offers": [1]},
        {"due": "2026-02-30"},
        {"due": "tomorrow"},
        {"refund": {"amount": "12.5", "currency": "USD"}},
        {"refund": {"amount": 12.5, "currency": "usd"}},
        {"refund": {"amount": 12.5}},
        {"other": "x"},
    ],
)
def test_what_is_not_of_the_schema_is_invalid(wrong: dict[str, Any]) -> None:
    assert not valid(GOOD | wrong, schema(FIELDS))


def test_a_field_that_is_missing_is_invalid() -> None:
    for name in GOOD:
        assert not valid({key: GOOD[key] for key in GOOD if key != name}, schema(FIELDS))


def test_the_old_form_is_a_text_that_is_always_there() -> None:
    assert schema(FIELDS)["properties"]["issue"] == {
        "type": "string",
        "description": "What was wrong",
    }
    assert meanings(FIELDS)["issue"] == "What was wrong"


def test_the_prompt_is_told_each_form() -> None:
    told = meanings(FIELDS, text=True)
    assert list(told) == ["summary", *TYPED]
    assert told["bought"] == "Whether they bought (true or false)"
    assert told["mood"] == 'How they felt (one of ["calm","angry"]; null if it was not said)'
    assert told["offers"].endswith('null if it was not said; for example ["10 % off"])')
    assert "YYYY-MM-DD" in told["due"]
    assert '"currency"' in told["refund"]


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ({"type": "bool"}, r"care\.summary_fields\.x\.description: missing"),
        ({"type": "flag", "description": "d"}, r"care\.summary_fields\.x\.type"),
        ({"descripton": "d"}, r"care\.summary_fields\.x\.descripton: unknown key"),
        ({"type": "enum", "description": "d"}, r"care\.summary_fields\.x: .*needs `values`"),
        ({"description": "d", "values": ["a"]}, r"`values` are an enum's"),
        ({"type": "enum", "description": "d", "values": ["a", "a"]}, "one twice"),
        ({"type": "date", "description": "d", "example": "May"}, "'May' is no date"),
        ("", r"care\.summary_fields\.x\.description"),
    ],
)
def test_a_fault_is_told_with_its_key(field: object, fault: str) -> None:
    given = {"model": "m", "lobs": {"care": {"summary_fields": {"x": field}}}}
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(given)
    assert re.search(fault, explain(refused.value))


def test_a_field_named_as_the_free_text_is_a_text() -> None:
    assert Lob.model_validate({"summary_fields": {"summary": "All of it", "x": "y"}})
    given = {"care": {"summary_fields": {"summary": {"type": "bool", "description": "d"}}}}
    with pytest.raises(ValidationError, match=r"care\.summary_fields\.summary: it is the summary"):
        Settings.model_validate({"model": "m", "lobs": given})


def test_the_settings_survive_a_round_trip() -> None:
    lob = Lob.model_validate({"summary_fields": TYPED})
    assert Lob.model_validate(lob.model_dump(mode="json")) == lob
