import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import metrics
from training.metrics import edit_similarity, length_deviation, unsupported_facts
from training.settings import METRICS as NAMES


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


def test_the_recipe_knows_exactly_these_metrics() -> None:
    assert set(NAMES.__args__) == set(metrics.METRICS) == set(metrics.score("a", "b", ["c"]))
