import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.examples import Example, Message
from training.data.splits import NOTHING, Past, newest, split
from training.recipe.curation import CurationConfig

RULES = CurationConfig(golden_share=0, min_holdout=2, holdout_share=0.2)
CONVERSATIONS = st.dictionaries(st.integers(0, 40).map("c{}".format), st.floats(0, 1e6))


def begins(count: int, first: int = 0) -> dict[str, float]:
    return {f"c{n:03d}": float(n) for n in range(first, first + count)}


def frozen(*conversations: str) -> tuple[Example, ...]:
    return tuple(
        Example(c, c, 1.0, "summary", None, None, "edit", (Message("user", c),), "", "t")
        for c in conversations
    )


def test_the_newest_conversations_roll() -> None:
    parts = split(begins(10), RULES, NOTHING)
    assert parts.rolling == {"c008", "c009"}
    assert parts.learned_until == (7.0, "c007")


def test_one_conversation_always_stays_to_learn_from() -> None:
    parts = split(begins(2), RULES, NOTHING)
    assert (parts.train, parts.rolling) == ({"c000"}, {"c001"})


@given(CONVERSATIONS.filter(lambda c: len(c) >= 2), st.floats(0.01, 0.99), st.floats(0, 0.49))
def test_a_split_leaks_nothing_loses_nothing_and_looks_forward(
    conversations: dict[str, float], share: float, golden_share: float
) -> None:
    rules = RULES.model_copy(update={"holdout_share": share, "golden_share": golden_share})
    parts = split(conversations, rules, NOTHING)
    sides = parts.train, parts.rolling, parts.golden
    assert sum(map(len, sides)) == len(conversations)
    assert frozenset.union(*sides) == conversations.keys()
    if parts.train and parts.rolling:
        last = max((conversations[c], c) for c in parts.train)
        assert last == parts.learned_until
        assert last < min((conversations[c], c) for c in parts.rolling)


def test_the_golden_choice_depends_on_nothing_but_the_id() -> None:
    rules = RULES.model_copy(update={"golden_share": 0.2})
    few, many = (split(begins(count), rules, NOTHING).golden for count in (100, 400))
    assert few == {c for c in many if c < "c100"}
    assert 50 < len(many) < 110


@pytest.mark.parametrize("share", [0.0, 0.49])
def test_a_frozen_golden_set_takes_no_more(share: float) -> None:
    rules = RULES.model_copy(update={"golden_share": share})
    parts = split(begins(50), rules, Past(golden=frozen("other")))
    assert parts.golden == frozenset()


def test_what_was_learned_from_never_judges_later() -> None:
    """Late feedback on old conversations must not push the hold-out back over the mark."""
    first = split(begins(10, first=100), RULES, NOTHING)
    past = Past(learned_until=first.learned_until)
    second = split(begins(110), RULES, past)
    assert second.rolling == {"c108", "c109"}
    assert not second.rolling & first.train
    raised = RULES.model_copy(update={"holdout_share": 0.9})
    assert not split(begins(10, first=100), raised, past).rolling & first.train


@given(st.lists(CONVERSATIONS, min_size=2, max_size=6), st.floats(0, 0.49), st.data())
def test_no_conversation_is_in_two_splits_over_many_cycles(
    arrivals: list[dict[str, float]], golden_share: float, data: st.DataObject
) -> None:
    known: dict[str, float] = {}
    learned: set[str] = set()
    past = NOTHING
    golden: frozenset[str] | None = None
    for new in arrivals:
        for conversation, begin in new.items():  # a label that comes late only lets it begin sooner
            known[conversation] = min(begin, known.get(conversation, begin))
        share = data.draw(st.floats(0.05, 0.95))
        rules = RULES.model_copy(update={"holdout_share": share, "golden_share": golden_share})
        fresh = {c: b for c, b in known.items() if c not in (golden or ())}
        parts = split(fresh, rules, past)
        judged = parts.rolling | parts.golden | (golden or frozenset())
        assert not parts.train & judged
        learned |= parts.train
        assert not learned & judged
        if golden is None and len(parts.golden) >= 3:
            golden = parts.golden
        past = Past(
            learned_until=newest([past.learned_until, parts.learned_until]),
            golden_ids=past.golden_ids | parts.golden,
            golden=frozen(*golden) if golden else None,
        )


def test_the_same_conversations_again_split_the_same() -> None:
    rules = RULES.model_copy(update={"golden_share": 0.3})
    first = split(begins(30), rules, NOTHING)
    again = Past(learned_until=first.learned_until, golden_ids=first.golden)
    assert split(begins(30), rules, again) == first


def test_an_exact_split_ignores_the_shares() -> None:
    other = RULES.model_copy(update={"holdout_share": 0.9, "golden_share": 0.4})
    past = Past(learned_until=(7.0, "c007"), golden_ids=frozenset({"c003"}), exact=True)
    parts = split(begins(10), other, past)
    assert (parts.golden, parts.rolling) == ({"c003"}, {"c008", "c009"})
