"""A line's own rules: each condition that is given must hold."""

from typing import Any

import pytest

from serving.config.reviews import Rule
from serving.guards.high_stakes import high_stakes
from serving.guards.verdict import GuardContext


def spans(text: str, last: str = "", **rule: Any) -> list[str]:
    guard = high_stakes([Rule.model_validate({"name": "refund", **rule})])
    found = guard(text, GuardContext(last=last))
    assert all((one.kind, one.score) == ("refund", 1.0) for one in found)
    return [text[slice(*one.span)] for one in found]


@pytest.mark.parametrize(
    ("text", "last", "rule", "found"),
    [
        ("We refund it.", "", {"answer": ["refund"]}, ["refund"]),
        ("We look.", "", {"answer": ["refund"]}, []),
        ("We look.", "I will sue you", {"customer": [r"\bsue\b"]}, ["We look."]),
        ("I will sue you", "Hello", {"customer": [r"\bsue\b"]}, []),
        ("You get $250.", "", {"amount_above": 100}, ["$250"]),
        ("You get 100 euros.", "", {"amount_above": 100}, []),
        ("You get two hundred dollars.", "", {"amount_above": 100}, ["two hundred dollars"]),
        ("Order 250 is here.", "", {"amount_above": 100}, []),
        ("Done.", "Send me $5,000", {"amount_above": 100}, ["Done."]),
        ("We refund $50.", "", {"answer": ["refund"], "amount_above": 100}, []),
        ("We refund $500.", "", {"answer": ["refund"], "amount_above": 100}, ["$500"]),
    ],
)
def test_a_rule_holds_where_all_that_it_asks_holds(
    text: str, last: str, rule: dict[str, Any], found: list[str]
) -> None:
    assert spans(text, last, **rule) == found


def test_each_rule_finds_for_itself() -> None:
    rules = [Rule(name="one", answer=["a"]), Rule(name="two", answer=["b"])]
    assert [one.kind for one in high_stakes(rules)("ab", GuardContext())] == ["one", "two"]
