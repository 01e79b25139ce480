import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.gate import Reason, decide
from training.metrics.text import RARE
from training.recipe.gate import Ceiling, GateConfig, NonInferiority, Superiority
from training.stats import bounded_mean
from training.stats.bootstrap import Interval
from training.stats.proportions import clopper_pearson

RULES = GateConfig(
    superiority=(Superiority(metric="edit_similarity", margin=0.02),),
    non_inferiority=(NonInferiority(metric="unsupported_facts", margin=0.1),),
)


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.95, 40)


@pytest.mark.parametrize(
    ("similarity", "facts", "accepted"),
    [
        ((0.03, 0.2), (-0.1, 0.05), True),
        ((0.02, 0.2), (-0.1, 0.05), False),  # the interval touches the margin
        ((-0.01, 0.2), (-0.1, 0.05), False),
        ((0.03, 0.2), (0.0, 0.1), True),
        ((0.03, 0.2), (0.0, 0.11), False),  # more facts from nowhere, perhaps
    ],
)
def test_the_interval_decides(
    similarity: tuple[float, float], facts: tuple[float, float], accepted: bool
) -> None:
    differences = {
        "edit_similarity": interval(*similarity),
        "unsupported_facts": interval(*facts),
    }
    assert decide(RULES, differences, against="care@1").accepted is accepted


def test_reasons_are_plain_words_with_figures() -> None:
    differences = {
        "edit_similarity": interval(0.1, 0.3),
        "unsupported_facts": interval(0.0, 0.5),
    }
    decision = decide(RULES, differences, against="care@1")
    assert [reason.passed for reason in decision.reasons] == [True, False]
    assert decision.reasons[0].text == (
        "Edit similarity is better than care@1's by more than 0.02: gain +0.200, 95% interval "
        "+0.100 to +0.300, 40 examples."
    )
    assert decision.reasons[1].text == (
        "Not enough data to show that Unsupported facts is no worse than care@1's by more than "
        "0.1: gain -0.250, 95% interval -0.500 to +0.000, 40 conversations; about 250 "
        "conversations could."
    )
    assert [reason.enough for reason in decision.reasons] == [True, False]
    assert decision.as_json()["against"] == "care@1"


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_better_candidate_is_never_refused_where_a_worse_one_passed(
    low: float, width: float, lift: float
) -> None:
    facts = {"unsupported_facts": interval(-1, 0)}
    worse = decide(RULES, {"edit_similarity": interval(low, low + width), **facts}, against="b")
    better = decide(
        RULES, {"edit_similarity": interval(low + lift, low + lift + width), **facts}, against="b"
    )
    assert better.accepted or not worse.accepted


def test_a_candidate_that_equals_live_is_not_better() -> None:
    same = {name: interval(0, 0) for name in ("edit_similarity", "unsupported_facts")}
    assert not decide(RULES, same, against="care@1").accepted


@pytest.mark.parametrize(
    ("events", "conversations", "accepted"), [(0, 12, False), (0, 40, True), (4, 40, False)]
)
def test_a_ceiling_holds_however_bad_live_is(
    events: int, conversations: int, accepted: bool
) -> None:
    rules = RULES.model_copy(
        update={"ceilings": (Ceiling(metric="unsupported_facts", at_most=0.2),)}
    )
    better = {
        "edit_similarity": interval(0.1, 0.3),
        "unsupported_facts": interval(-0.9, -0.5),
    }
    rates = {"unsupported_facts": clopper_pearson(events, conversations)}
    decision = decide(rules, better, against="care@1", rates=rates)
    assert decision.accepted is accepted
    if (events, conversations) == (0, 12):
        assert decision.reasons[-1].text == (
            "Unsupported facts: the share of conversations with any is not shown to stay below "
            "20.0%: 0.0%, 95% interval 0.0% to 26.5%, 12 conversations."
        )


@pytest.mark.parametrize("passed", [True, False])
def test_more_rules_can_only_refuse(passed: bool) -> None:
    good = {"edit_similarity": interval(0.1, 0.3), "unsupported_facts": interval(-0.9, -0.5)}
    more = Reason("forgetting", "non_inferiority", passed, "words")
    decision = decide(RULES, good, against="care@1").also([more])
    assert decision.accepted is passed
    assert decision.reasons[-1] is more
    bad = decide(RULES, {**good, "edit_similarity": interval(-1, 0)}, against="care@1")
    assert not bad.also([more]).accepted


def nothing_seen(conversations: int) -> Interval:
    names = [str(n) for n in range(conversations)]
    return bounded_mean.interval([0.0] * conversations, groups=names)


@pytest.mark.parametrize(("conversations", "accepted"), [(5, False), (49, False), (50, True)])
def test_that_nothing_was_seen_in_a_few_conversations_shows_nothing(
    conversations: int, accepted: bool
) -> None:
    seen = {"edit_similarity": interval(0.1, 0.3), "unsupported_facts": nothing_seen(conversations)}
    decision = decide(RULES, seen, against="care@1")
    assert decision.accepted is accepted
    assert decision.reasons[-1].enough is accepted
    if not accepted:
        assert decision.reasons[-1].text.endswith("about 50 conversations could.")


def test_what_is_shown_to_be_worse_is_no_want_of_data() -> None:
    seen = {"edit_similarity": interval(0.1, 0.3), "unsupported_facts": interval(0.2, 0.6)}
    (_, facts) = decide(RULES, seen, against="care@1").reasons
    assert (facts.passed, facts.enough) == (False, True)
    assert facts.text.startswith("Unsupported facts may be worse than care@1's by more than 0.1")


@pytest.mark.parametrize(("low", "accepted"), [(-0.1, True), (0.0, True), (0.01, False)])
def test_the_golden_set_judges_facts_and_form_and_refuses_what_it_shows_to_be_worse(
    low: float, accepted: bool
) -> None:
    new = {"edit_similarity": interval(0.1, 0.3), "unsupported_facts": interval(-0.1, 0.0)}
    old = {name: interval(low, 0.5) for name in RARE}
    decision = decide(RULES, new, golden=old, against="care@1")
    assert decision.accepted is accepted
    assert [r.metric for r in decision.reasons if r.rule == "golden"] == ["unsupported_facts"]


@pytest.mark.parametrize(("judged", "accepted"), [(80, True), (79, False), (0, False)])
def test_a_hold_out_of_which_too_little_is_known_decides_nothing(
    judged: int, accepted: bool
) -> None:
    good = {"edit_similarity": interval(0.1, 0.3), "unsupported_facts": interval(-0.9, -0.5)}
    decision = decide(RULES, good, coverage={"shown": 100, "judged": judged}, against="care@1")
    assert decision.accepted is accepted
    first = decision.reasons[0]
    assert (first.passed, first.enough) == (accepted, accepted)
    if not accepted:
        assert "also for those that were sent as they were" in first.text
    assert not decide(RULES, good, coverage={"shown": 0, "judged": 0}, against="b").accepted
