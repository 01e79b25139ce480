import pytest

from training.analysis.plan import UNKNOWN_SPREAD, Pace, needs, pace, words
from training.recipe.gate import Ceiling, GateConfig, NonInferiority, Superiority

RULES = GateConfig(
    superiority=(Superiority(metric="edit_similarity"),),
    non_inferiority=(
        NonInferiority(metric="length_deviation", margin=0.1),
        NonInferiority(metric="unsupported_facts", margin=0.1),
    ),
    ceilings=(Ceiling(metric="unsupported_facts", at_most=0.2),),
)
SEEN = Pace(days=10, judged=50, outside=0.0, spread=0.2)


def test_each_rule_has_its_number_and_its_day() -> None:
    found = needs(RULES, SEEN, effect=0.05, confidence=0.95)
    assert [(n.rule, n.metric, n.conversations) for n in found] == [
        ("superiority", "edit_similarity", 126),  # (2.8 * 0.2 / 0.05) squared
        ("non_inferiority", "length_deviation", 32),
        ("non_inferiority", "unsupported_facts", 50),
        ("ceiling", "unsupported_facts", 17),
    ]
    assert found[2].days == 10
    assert words(found[2]) == ("Unsupported facts, non_inferiority", "0.1", "50", "10 days")


def test_half_the_effect_takes_four_times_as_many() -> None:
    whole, half = (
        needs(RULES, SEEN, effect=effect, confidence=0.95)[0].conversations
        for effect in (0.1, 0.05)
    )
    assert half == pytest.approx(4 * whole, abs=4)


def test_a_line_without_judged_conversations_never_gets_there() -> None:
    found = needs(RULES, pace({}, 14, 100, 100), effect=0.05, confidence=0.95)
    assert {need.days for need in found} == {None}
    assert words(found[0])[3] == "never at this pace"


def test_the_spread_is_between_conversations_and_guessed_of_few() -> None:
    seen = pace({f"c{n}": [n % 2, 1.0] for n in range(10)}, 5, 40, 10)
    assert seen.spread == pytest.approx(0.2635, abs=1e-3)
    assert (seen.judged, seen.a_day, seen.outside) == (10, 2, 0.25)
    assert pace({"c": [1.0]}, 5, 1, 0).spread == UNKNOWN_SPREAD


def test_an_effect_within_the_margin_cannot_be_shown() -> None:
    rules = GateConfig(superiority=(Superiority(metric="edit_similarity", margin=0.1),))
    with pytest.raises(ValueError, match=r"an effect of 0\.05"):
        needs(rules, SEEN, effect=0.05, confidence=0.95)
