"""What a structured answer holds: nothing cut short, and nothing that does not fit, is complete."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.config.lobs import Lob
from serving.config.structured.fields import schema
from serving.gateway.structured import reading

FIELDS = Lob.model_validate(
    {
        "summary_fields": {
            "issue": "What was wrong",
            "due": {"type": "date", "description": "By when"},
            "refund": {"type": "money", "description": "Paid back"},
        }
    }
).summary_fields
SCHEMA = schema(FIELDS)
GOOD: dict[str, Any] = {
    "issue": "It broke.",
    "due": "2026-05-01",
    "refund": {"amount": 5, "currency": "EUR"},
}


def read(text: str, reason: str | None = "stop", *, both: bool = False) -> dict[str, Any]:
    return reading.summary(text, reason, schema(FIELDS, text=both), both=both)


def test_a_whole_answer_is_complete() -> None:
    assert read(orjson.dumps(GOOD).decode()) == {"complete": True, "fields": GOOD}
    both = {"summary": "All went well."} | GOOD
    assert read(orjson.dumps(both).decode(), both=True) == {
        "complete": True,
        "text": "All went well.",
        "fields": GOOD,
    }


@pytest.mark.parametrize("reason", ["length", "content_filter", "abort", None])
def test_an_answer_that_did_not_end_by_itself_is_not_complete(reason: str | None) -> None:
    assert read(orjson.dumps(GOOD).decode(), reason) == {"complete": False, "fields": GOOD}


@given(st.integers(0, 200))
def test_no_beginning_is_complete_and_none_of_its_fields_is_cut(end: int) -> None:
    text = orjson.dumps(GOOD).decode()
    end = min(end, len(text) - 1)
    told = read(text[:end], "length")
    assert not told["complete"]
    assert all(GOOD[name] == value for name, value in told["fields"].items())


def test_what_has_ended_before_the_cut_is_told() -> None:
    text = '{"issue": "It broke.", "due": "2026-05-01", "refund": {"amount": 5'
    assert read(text, "length")["fields"] == {"issue": "It broke.", "due": "2026-05-01"}
    text = '{"summary": "It bro'
    assert read(text, "length", both=True) == {"complete": False, "text": None, "fields": {}}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("I cannot.", {}),
        ("[1]", {}),
        ('"x"', {}),
        ('{"issue": "x"}', {"issue": "x"}),
        ('{"issue": "x", "due": "soon", "refund": null}', {"issue": "x", "refund": None}),
        ('{"issue": "x", "due": null, "refund": null, "more": 1}', None),
        ('{"issue": "x", "due": null, "refund": {"amount": NaN, "currency": "EUR"}}', None),
        ('{"issue": "x"}\n```', {"issue": "x"}),
    ],
)
def test_what_does_not_fit_is_not_complete(text: str, fields: dict[str, Any] | None) -> None:
    told = read(text)
    assert not told["complete"]
    if fields is not None:
        assert told["fields"] == fields
