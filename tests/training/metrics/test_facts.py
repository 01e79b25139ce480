import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.facts import unsupported_facts

CONVERSATION = [
    "customer: I am Crystal Minh, order 4471. It cost $1,000.00 and arrives Tuesday.",
    "agent: Two refunds by 12 May at 10:30, Crystal.",
]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Crystal gets two refunds by Tuesday.", []),
        ("We refund 1000 to Minh's card on Tue, 2 times.", []),
        ("Order 4472 arrives Wednesday.", ["4472", "Wednesday"]),
        ("We call Dana in Boston at 11:30.", ["Dana", "Boston", "11:30"]),
        ("Dana calls. Bought: Yes. Follow-up: none.", []),  # a word that begins is no name
        ("We may march on.", []),
        ("I'm sure I can.", []),
        ("Sent to [EMAIL], 7 and 7 and 7.", ["[EMAIL]", "7"]),
        ("", []),
    ],
)
def test_facts_that_the_conversation_lacks(output: str, expected: list[str]) -> None:
    assert unsupported_facts(output, CONVERSATION) == expected


@given(st.text(max_size=120))
def test_repeating_the_conversation_is_always_supported(text: str) -> None:
    assert unsupported_facts(text, [text]) == []


DATED = ["customer: I ordered on May 12, 2026 for $50 and paid 20% less. Due: 2026-06-03."]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Ordered 5/12/2026.", []),
        ("Ordered 2026-05-12.", []),
        ("Ordered 12.05.2026, due June 3.", []),
        ("Due on the 3rd of June.", []),
        ("Due on the 4th of June.", ["4", "June"]),
        ("Due 6/3.", []),
        ("Ordered 5/13/2026.", ["5/13/2026"]),
        ("Ordered 13/45.", ["13/45"]),
        ("Paid 50 dollars, 20 percent off.", []),
        ("Paid 50 USD.", []),
        ("It is 50% off.", ["50%"]),
        ("It is 50 off, 20 less.", []),
        ("Paid €20.", ["€20"]),
        ("Paid $60.", ["60"]),
    ],
)
def test_dates_and_amounts_are_compared_by_what_they_mean(output: str, expected: list[str]) -> None:
    assert unsupported_facts(output, DATED) == expected
