import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.canary.decision import Evidence, Progress, decide, progress, weigh
from training.canary.outcomes import METRICS, Conversation
from training.recipe.canary import CanaryConfig, CanaryRule

RULES = CanaryConfig()
EARLY = Progress(share=0.05, since_change=10, conversations=300, hours=2, smaller_arm=60)
DUE = Progress(share=0.05, since_change=50, conversations=1000, hours=9, smaller_arm=60)


def evidence(low: float = -0.3, high: float = 0.3, **others: tuple[float, float]) -> dict:
    """Return evidence with these bounds on all metrics but `others`."""
    bounds = {name: others.get(name, (low, high)) for name in METRICS}
    return {
        name: Evidence((low + high) / 2, low, high, 50, 950, 0.5, 0.5)
        for name, (low, high) in bounds.items()
    }


def made(
    count: int, share: float, seed: int = 0, worse: float = 0.0, judged: float = 1.0
) -> list[Conversation]:
    """Return conversations of which the canary's edit similarity is worse."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        canary = bool(rng.random() < share)
        outcomes = {"failures": 0.0, "slow_answers": float(rng.random() < 0.1)}
        outcomes |= {"usage": float(rng.random() < 0.6), "judged": 1.0}
        if rng.random() < judged:
            similarity = float(np.clip(rng.normal(0.7 - worse * canary, 0.15), 0, 1))
            outcomes |= {"edit_similarity": similarity, "acceptance": float(similarity > 0.5)}
        out.append(Conversation(f"c{number}", float(number), canary, share, outcomes))
    return out


def test_harm_on_any_metric_rolls_back_and_says_which() -> None:
    for name, metric in METRICS.items():
        decision = decide(RULES, evidence(**{name: (-0.2, -0.01)}), EARLY)
        assert (decision.action, decision.share) == ("roll_back", 0)
        assert decision.why == f"it is shown to be worse: {metric.title}"
        failed = [r for r in decision.reasons if r.rule == "harm" and not r.passed]
        assert [r.metric for r in failed] == [name]
        assert failed[0].text == (
            f"{metric.title} is worse than live's: gain -0.105, at all times -0.200 to -0.010, "
            "50 and 950 conversations."
        )


def test_harm_within_the_margin_is_borne() -> None:
    rules = CanaryConfig(harm=(CanaryRule(metric="failures", margin=0.02),))
    assert decide(rules, evidence(failures=(-0.2, -0.01)), EARLY).action == "continue"
    assert decide(rules, evidence(failures=(-0.2, -0.03)), EARLY).action == "roll_back"


def test_non_inferiority_on_all_promotes() -> None:
    good = evidence(low=-0.01, high=0.1)
    assert decide(RULES, good, EARLY).action == "promote"
    for name in (rule.metric for rule in RULES.non_inferiority):
        one_short = evidence(low=-0.01, high=0.1, **{name: (-0.06, 0.1)})
        assert decide(RULES, one_short, EARLY).action == "continue", name


def test_superiority_must_exceed_its_margin() -> None:
    rules = CanaryConfig(superiority=(CanaryRule(metric="edit_similarity", margin=0.03),))
    for low, action in ((0.02, "continue"), (0.04, "promote")):
        found = evidence(low=-0.01, high=0.1, edit_similarity=(low, 0.2))
        assert decide(rules, found, EARLY).action == action


def test_nothing_is_promoted_before_each_arm_has_its_conversations() -> None:
    good, few = evidence(low=-0.01, high=0.1), dataclasses.replace(EARLY, smaller_arm=49)
    assert decide(RULES, good, few).action == "continue"
    lenient = CanaryConfig(at_end="promote")
    over = decide(lenient, good, dataclasses.replace(few, hours=168.0))
    assert over.action == "roll_back"
    assert "an arm has 49 of the 50 it needs" in over.why


def test_arms_of_other_sizes_than_their_share_says_roll_back() -> None:
    whole = made(2000, 0.5)
    lost = [c for number, c in enumerate(whole) if not c.canary or number % 3]
    for conversations, mismatched in ((whole, False), (lost, True)):
        at = progress(conversations, RULES, share=0.5, began=0, changed=0, now=3600)
        assert at.mismatched == mismatched
        decision = decide(RULES, evidence(low=-0.01, high=0.1), at)
        assert decision.action == ("roll_back" if mismatched else "promote")
    assert "some are lost" in decision.why


def test_harm_beats_promotion() -> None:
    rules = CanaryConfig(non_inferiority=(CanaryRule(metric="acceptance", margin=0.05),))
    found = evidence(low=-0.01, high=0.1, failures=(-0.1, -0.05))
    assert decide(rules, found, EARLY).action == "roll_back"


def test_the_share_grows_step_by_step_and_no_further() -> None:
    shares, share = [], 0.01
    while share < 0.5:
        decision = decide(RULES, evidence(), dataclasses.replace(DUE, share=share))
        assert decision.action == "share"
        share = decision.share
        shares.append(share)
    assert shares == [0.05, 0.2, 0.5]
    last = decide(RULES, evidence(), dataclasses.replace(DUE, share=0.5))
    assert (last.action, last.why) == ("continue", "the evidence does not decide yet")


def test_the_share_waits_for_conversations() -> None:
    decision = decide(RULES, evidence(), EARLY)
    assert (decision.action, decision.share) == ("continue", 0.05)
    assert decision.why == "10 of 50 canary conversations at this share"


@pytest.mark.parametrize("over", [{"conversations": 20_000}, {"hours": 168.0}])
def test_what_is_never_decided_ends_as_the_recipe_says(over: dict[str, float]) -> None:
    at = dataclasses.replace(EARLY, **over)
    assert decide(RULES, evidence(), at).action == "roll_back"
    lenient = CanaryConfig(at_end="promote")
    assert decide(lenient, evidence(), at).action == "promote"
    harmed = evidence(failures=(-0.2, -0.01))
    assert decide(lenient, harmed, at).action == "roll_back"


def test_thompson_moves_the_share_both_ways_but_not_for_a_trifle() -> None:
    rules = CanaryConfig(mode="thompson")
    for wanted, action in ((0.6, "share"), (0.05, "share"), (0.22, "continue")):
        at = dataclasses.replace(DUE, share=0.2, wanted=wanted)
        decision = decide(rules, evidence(), at)
        assert decision.action == action
        assert decision.share == (wanted if action == "share" else 0.2)


def test_thompson_wants_more_of_the_better_arm() -> None:
    rules = CanaryConfig(mode="thompson", floor=0.1)
    for worse, least, most in ((0.2, 0.1, 0.15), (-0.2, 0.85, 0.9)):
        at = progress(made(400, 0.5, worse=worse), rules, share=0.5, began=0, changed=0, now=3600)
        assert at.wanted is not None
        assert least - 1e-9 <= at.wanted <= most + 1e-9
    assert progress([], RULES, share=0.5, began=0, changed=0, now=0).wanted is None


def test_progress_counts_the_canary_s_conversations_since_the_change() -> None:
    at = progress(made(100, 0.5), RULES, share=0.5, began=0, changed=60, now=7200)
    assert at.conversations == 100
    assert at.since_change == sum(c.canary for c in made(100, 0.5) if c.started >= 60)
    assert at.hours == 2


def test_evidence_is_turned_so_that_above_zero_is_better() -> None:
    slow = [
        dataclasses.replace(c, outcomes={**c.outcomes, "slow_answers": float(c.canary)})
        for c in made(200, 0.5, worse=0.3)
    ]
    found = weigh(slow, RULES)
    assert found["slow_answers"].high < 0
    assert found["slow_answers"].canary_mean == 1
    assert found["edit_similarity"].high < 0
    assert found["edit_similarity"].gain == pytest.approx(-0.3, abs=0.05)
    assert found["failures"].low <= 0 <= found["failures"].high


def test_a_worse_canary_is_rolled_back_and_an_equal_one_promoted() -> None:
    for worse, action in ((0.15, "roll_back"), (0.0, "promote")):
        found = weigh(made(3000, 0.5, worse=worse), RULES)
        assert decide(RULES, found, DUE).action == action


def test_only_judged_conversations_speak() -> None:
    conversations = made(400, 0.5, judged=0.25)
    found = weigh(conversations, RULES)
    judged = [c for c in conversations if "acceptance" in c.outcomes]
    assert found["acceptance"].canary + found["acceptance"].control == len(judged)
    assert found["failures"].canary + found["failures"].control == 400
    nothing = weigh([], RULES)["acceptance"]
    assert (nothing.low, nothing.high, nothing.canary_mean) == (-1, 1, None)


@given(st.floats(-0.5, 0.4), st.floats(0.01, 0.4), st.floats(0, 0.5))
def test_better_evidence_never_leads_to_a_worse_end(low: float, width: float, lift: float) -> None:
    order = ["roll_back", "continue", "promote"]
    before = decide(RULES, evidence(low, low + width), EARLY).action
    after = decide(RULES, evidence(low + lift, low + width + lift), EARLY).action
    assert order.index(after) >= order.index(before)


def test_a_decision_can_be_stored() -> None:
    found = decide(RULES, weigh(made(50, 0.5), RULES), EARLY).as_json()
    assert found["reasons"][0]["rule"] == "harm"
    assert found["evidence"]["failures"]["canary"] > 0


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        ({"steps": [0.2, 0.1]}, "must grow"),
        ({"steps": [0.2, 1.0]}, "between 0 and 1"),
        ({"superiority": [], "non_inferiority": []}, "nothing earns a promotion"),
        ({"harm": []}, "at least 1"),
        ({"stepps": [0.1]}, "Extra inputs"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, list[float]], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        CanaryConfig.model_validate(rules)


def test_every_rule_is_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "canary.md").read_text(encoding="utf-8")
    assert len(CanaryConfig.model_fields) >= 15
    assert [name for name in CanaryConfig.model_fields if f"`{name}" not in text] == []
