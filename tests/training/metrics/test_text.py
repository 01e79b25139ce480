from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import text
from training.metrics.text import (
    edit_similarity,
    is_format_error,
    is_refusal,
    length_deviation,
    slot_recall,
)
from training.recipe.gate import METRICS as NAMES


@pytest.mark.parametrize(
    ("output", "final", "expected"),
    [
        ("kitten", "sitting", 1 - 3 / 7),
        ("same", "same", 1.0),
        (" same  text\n", "same text", 1.0),
        ("", "", 1.0),
        ("", "abc", 0.0),
        ("abc", "xyz", 0.0),
    ],
)
def test_edit_similarity_of_known_pairs(output: str, final: str, expected: float) -> None:
    assert edit_similarity(output, final) == pytest.approx(expected)


@given(st.text(max_size=60), st.text(max_size=60))
def test_edit_similarity_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert 0 <= edit_similarity(a, b) <= 1
    assert edit_similarity(a, b) == pytest.approx(edit_similarity(b, a))
    assert edit_similarity(a, a) == 1


def test_length_deviation_is_the_share_of_the_agents_length() -> None:
    assert length_deviation("x" * 15, "y" * 10) == pytest.approx(0.5)
    assert length_deviation("x" * 5, "y" * 10) == pytest.approx(0.5)
    assert length_deviation("", "") == 1.0 - 0.0  # nothing where nothing was wanted: ratio 0


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "schema": {"required": ["a"], "properties": {"a": {}}, "additionalProperties": False}
    },
}


STRINGS = {
    "type": "json_schema",
    "json_schema": {"schema": {"properties": {"a": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    ("output", "form", "wrong"),
    [
        ("no JSON", None, False),
        ("no JSON", {"type": "text"}, False),
        ("no JSON", {"type": "json_object"}, True),
        ("[1]", {"type": "json_object"}, True),
        ('{"b": 1}', {"type": "json_object"}, False),
        ('{"a": 1}', SCHEMA, False),
        ('{"b": 1}', SCHEMA, True),
        ('{"a": 1, "b": 1}', SCHEMA, True),
        ('{"a": 1', SCHEMA, True),
        ('{"a": 5}', STRINGS, True),
        ('{"a": "5"}', STRINGS, False),
    ],
)
def test_a_format_error_breaks_what_the_request_demanded(
    output: str, form: dict[str, Any] | None, wrong: bool
) -> None:
    assert is_format_error(output, form) is wrong


@pytest.mark.parametrize(
    ("output", "final", "expected"),
    [
        ('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}', 1.0),
        ('{"a": " X ", "b": "z"}', '{"a": "x", "b": "y"}', 0.5),
        ('{"a": "x"}', '{"a": "x", "b": "y", "c": "z"}', 1 / 3),
        ('{"a": [1, 2]}', '{"a": [1, 2]}', 1.0),
        ('{"a": "x"}', '{"a": "x", "b": "", "c": null}', 1.0),
        ("broken", '{"a": "x"}', 0.0),
        ("text", "text", 1.0),
        ("{}", "{}", 1.0),
    ],
)
def test_slot_recall_counts_exactly_filled_slots(output: str, final: str, expected: float) -> None:
    assert slot_recall(output, final) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("output", "final", "refuses"),
    [
        ("I'm sorry, but I cannot share that.", "Your refund is due Friday.", True),
        ("As an AI language model, I have no orders.", "Order 4471 ships.", True),
        ("I can\u2019t help with that.", "Sure.", True),
        ("", "Sure.", True),
        ("I cannot provide this.", "I am unable to share other customers' data.", False),
        ("I am sorry that the kettle broke. I can help.", "Sure.", False),
        ("The customer cannot assist.", "Sure.", False),
    ],
)
def test_a_refusal_counts_where_the_agent_did_not_refuse(
    output: str, final: str, refuses: bool
) -> None:
    assert is_refusal(output, final) is refuses


def test_the_recipe_knows_exactly_these_metrics() -> None:
    assert set(NAMES.__args__) == set(text.METRICS) == set(text.score("a", "b", ["c"]))
