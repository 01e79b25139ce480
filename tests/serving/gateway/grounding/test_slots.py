"""Slots are filled by what is known, and those that are not are named."""

import pytest

from serving.config.prompts import Turn
from serving.gateway.grounding import slots


@pytest.mark.parametrize(
    ("role", "text", "found"),
    [
        ("customer", "Hi, my name is Ann Lee.", {"customer_name": "Ann Lee"}),
        ("customer", "This is Bob, hello", {"customer_name": "Bob"}),
        ("customer", "This is awful.", {}),
        ("agent", "My name is Kim, how can I help?", {"agent_name": "Kim"}),
        ("customer", "Where is order number A-1234?", {"order_number": "A-1234"}),
        ("customer", "my order #98765 is late", {"order_number": "98765"}),
        ("customer", "In order to pay I called.", {}),
        ("customer", "Write to ann@shop.example.", {"email": "ann@shop.example"}),
        ("agent", "Order 12345 at a@b.example", {}),
        ("knowledge", "My name is Eve. Order 12345", {}),
    ],
)
def test_a_conversation_fills_few_slots(role: str, text: str, found: dict[str, str]) -> None:
    assert slots.said_in([Turn(role, text)]) == found  # type: ignore[arg-type]


def test_what_was_said_later_goes_before() -> None:
    turns = [Turn("customer", "Order 11111."), Turn("customer", "No, order 22222.")]
    assert slots.said_in(turns) == {"order_number": "22222"}


def test_a_slot_that_nothing_fills_stays_and_is_named() -> None:
    text = "Dear {customer_name}, {date} {date} {Not} {customer_name}"
    assert slots.filled(text, {"customer_name": "{date}"}) == (
        "Dear {date}, {date} {date} {Not} {date}",
        ["date"],
    )
