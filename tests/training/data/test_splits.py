import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.examples import Example, Message
from training.data.splits import NOTHING, Past, Rate, is_drawn, rates, seen_until, share_for, split
from training.recipe.curation import CurationConfig

DAY_S = 86_400.0
RULES = CurationConfig(golden_share=0, min_holdout=2, holdout_share=0.2, recent_days=90)
CONVERSATIONS = st.dictionaries(
    st.integers(0, 40).map("c{}".format), st.floats(0, 200 * DAY_S), min_size=1
)


def with_rules(**rules: object) -> CurationConfig:
    return RULES.model_copy(update=rules)


def begins(count: int, first: int = 0, step_s: float = 1.0) -> dict[str, float]:
    return {f"c{n:03d}": n * step_s for n in range(first, first + count)}


def frozen(*conversations: str) -> tuple[Example, ...]:
    return tuple(
        Example(c, c, 1.0, "summary", None, None, "edit", (Message("user", c),), "", "t")
        for c in conversations
    )


def part(until: float, share: float = 0.2, salt: str = "", earlier: tuple[Rate, ...] = ()) -> dict:
    return {"learned_until": until, "share": share, "salt": salt, "rates": [*map(list, earlier)]}


def test_a_share_is_drawn_from_all_of_time_and_the_newest_are_learned_from_at_once() -> None:
    parts = split("care", begins(2000), RULES, NOTHING)
    assert len(parts.rolling) == pytest.approx(400, abs=60)
    newest, oldest = begins(200, 1800).keys(), begins(200).keys()
    assert len(parts.rolling & newest) == pytest.approx(len(parts.rolling & oldest), abs=30)
    assert len(parts.train & newest) > 100
    assert parts.seen_until == 1999


def test_what_happens_in_a_conversation_or_beside_it_changes_nothing() -> None:
    few, many = (split("care", begins(count), RULES, NOTHING) for count in (100, 400))
    assert few.rolling == {c for c in many.rolling if c < "c100"}


def test_lines_and_salts_draw_independently() -> None:
    sides = [
        split(lob, begins(2000), with_rules(holdout_salt=salt), NOTHING).rolling
        for lob, salt in (("care", ""), ("sales", ""), ("care", "secret"))
    ]
    for one in sides[1:]:
        assert len(sides[0] & one) == pytest.approx(0.2 * len(one), abs=30)


def test_what_judges_leaves_after_its_days_and_is_never_learned_from() -> None:
    parts = split("care", begins(400, step_s=DAY_S), RULES, NOTHING)
    assert min(parts.rolling) >= "c309"
    drawn = {c for c in begins(400) if is_drawn("care", c, 0.0, RULES)}
    assert not parts.train & drawn
    assert parts.train | drawn == begins(400).keys()


@given(CONVERSATIONS, st.floats(0.01, 0.99), st.floats(0, 0.49))
def test_a_split_leaks_nothing(
    conversations: dict[str, float], share: float, golden_share: float
) -> None:
    rules = with_rules(holdout_share=share, golden_share=golden_share)
    parts = split("care", conversations, rules, NOTHING)
    sides = parts.train, parts.rolling, parts.golden
    assert sum(map(len, sides)) == len(frozenset.union(*sides))
    assert frozenset.union(*sides) <= conversations.keys()


def test_the_golden_choice_depends_on_nothing_but_the_id() -> None:
    rules = with_rules(golden_share=0.2)
    few, many = (split("care", begins(count), rules, NOTHING).golden for count in (100, 400))
    assert few == {c for c in many if c < "c100"}
    assert 50 < len(many) < 110


@pytest.mark.parametrize("share", [0.0, 0.49])
def test_a_frozen_golden_set_takes_no_more(share: float) -> None:
    past = Past(golden=frozen("other"))
    assert split("care", begins(50), with_rules(golden_share=share), past).golden == frozenset()


def test_what_was_learned_from_never_judges_though_the_share_grows() -> None:
    first = split("care", begins(300), with_rules(holdout_share=0.1), NOTHING)
    grown = with_rules(holdout_share=0.5)
    past = Past(rates=rates([part(first.seen_until, 0.1)], grown))
    second = split("care", begins(600), grown, past)
    assert first.rolling <= second.rolling
    assert not first.train & second.rolling
    newer = second.rolling & begins(300, 300).keys()
    assert len(newer) == pytest.approx(150, abs=30)


def test_of_what_a_version_without_a_draw_learned_nothing_judges() -> None:
    past = Past(rates=rates([{"learned_until": [99.0, "c099"]}], RULES))
    parts = split("care", begins(300), RULES, past)
    assert min(parts.rolling) > "c099"


def test_another_salt_draws_from_newer_conversations_only() -> None:
    past = Past(rates=rates([part(99.0, salt="old", earlier=((50.0, 0.1),))], RULES))
    assert past.rates == ((99.0, 0.0),)
    assert min(split("care", begins(300), RULES, past).rolling) > "c099"


def test_only_the_rates_that_matter_are_kept() -> None:
    parts = [part(10, 0.3), part(20, 0.1), part(30, 0.2), part(40, 0.2)]
    assert rates(parts, RULES) == ((20, 0.1),)
    raised = with_rules(holdout_share=0.6)
    assert rates([part(50, 0.5, earlier=((40, 0.2), (20, 0.1)))], raised) == (
        (50, 0.5),
        (40, 0.2),
        (20, 0.1),
    )
    assert rates([], RULES) == ()


@given(st.lists(CONVERSATIONS, min_size=2, max_size=6), st.floats(0, 0.49), st.data())
def test_no_conversation_is_in_two_splits_over_many_cycles(
    arrivals: list[dict[str, float]], golden_share: float, data: st.DataObject
) -> None:
    known: dict[str, float] = {}
    learned: set[str] = set()
    past = NOTHING
    manifests: list[dict] = []
    golden: frozenset[str] | None = None
    for new in arrivals:
        for conversation, begin in new.items():  # a label that comes late only lets it begin sooner
            known[conversation] = min(begin, known.get(conversation, begin))
        rules = with_rules(
            holdout_share=data.draw(st.floats(0.05, 0.95)),
            holdout_salt=data.draw(st.sampled_from(["", "other"])),
            golden_share=golden_share,
        )
        fresh = {c: b for c, b in known.items() if c not in (golden or ())}
        if not fresh:
            continue
        past = Past(
            rates(manifests, rules),
            seen_until(manifests),
            past.golden_ids,
            frozen(*golden) if golden else None,
        )
        parts = split("care", fresh, rules, past)
        judged = parts.rolling | parts.golden | (golden or frozenset())
        assert not parts.train & judged
        learned |= parts.train
        assert not learned & judged
        if golden is None and len(parts.golden) >= 3:
            golden = parts.golden
        past = Past(golden_ids=past.golden_ids | parts.golden)
        manifests.append(
            part(parts.seen_until, rules.holdout_share, rules.holdout_salt, past.rates)
        )


def test_the_same_conversations_again_split_the_same() -> None:
    rules = with_rules(golden_share=0.3)
    first = split("care", begins(30), rules, NOTHING)
    done = [part(first.seen_until)]
    again = Past(rates(done, rules), seen_until(done), first.golden)
    assert split("care", begins(30), rules, again) == first


@pytest.mark.parametrize(("count", "held"), [(2, 1), (5, 2), (40, 8)])
def test_of_a_file_exactly_as_many_judge_as_the_rules_ask_for(count: int, held: int) -> None:
    names = begins(count).keys()
    rules = with_rules(holdout_share=share_for("care", names, RULES))
    assert len(split("care", begins(count), rules, NOTHING).rolling) == held


def test_an_exact_golden_set_ignores_the_share() -> None:
    past = Past(golden_ids=frozenset({"c003"}), exact=True)
    assert split("care", begins(10), with_rules(golden_share=0.4), past).golden == {"c003"}
