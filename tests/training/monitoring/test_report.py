import random
from collections.abc import Sequence

import pytest

from serving.draws import monitored
from training.data.sampling import DAY_S
from training.monitoring import report, windows
from training.monitoring.grades import Grade
from training.monitoring.report import Report
from training.monitoring.rules import Answer
from training.recipe.recipe import Recipe

RECIPE = Recipe.model_validate(
    {
        "evaluation": {"resamples": 400},
        "monitoring": {"window_s": 100, "people": {"half_width": 0.1, "cost_at_most": 60}},
    }
)
AT = windows.at(RECIPE.monitoring, windows.MONDAY + 3000 * 7 * DAY_S + 5 * DAY_S)
REFERENCE, PRESENT = 800, 300


def answers(count: int, since: float, refusals: float, seed: int, prefix: str) -> list[Answer]:
    """Return as many conversations of two answers, so many of which refuse."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        for turn in range(2):
            refuses = float(rng.random() < refusals)
            kept = {"edit_similarity": rng.betavariate(8, 2)}
            found.append(
                Answer(
                    id=f"{prefix}{number}-{turn}",
                    conversation=f"{prefix}{number}",
                    at=since + number * 60 + turn,
                    version="care@1",
                    characters=rng.randrange(50, 200),
                    found={"silent": 0.0, "refusals": refuses, **kept},
                    grade=0.0 if refuses else kept["edit_similarity"],
                )
            )
    return found


def look(refusals: float = 0.03, given: Sequence[Grade] = ()) -> Report:
    before = answers(REFERENCE, AT.since, 0.03, 1, "r")
    now = answers(PRESENT, AT.begins, refusals, 2, "p")
    return report.report("care", before, now, given, RECIPE, AT)


def test_a_steady_line_raises_no_alarm() -> None:
    found = look()
    assert found.alarms == ()
    assert found.answers == (2 * REFERENCE, 2 * PRESENT)
    assert found.conversations == (REFERENCE, PRESENT)
    unknown = {one.rule.metric for one in found.watched if one.drift is None}
    assert unknown == {"unsupported_facts", "format_errors", "people", "judge"}


def test_more_refusals_are_told_with_their_figures() -> None:
    found = look(refusals=0.2)
    assert [one.name for one in found.alarms] == ["refusals up"]
    drift = found.alarms[0].drift
    assert drift is not None
    assert drift.reference.mean == pytest.approx(0.03, abs=0.01)
    assert drift.present.low > drift.reference.high
    assert 0 < (drift.after or 0) < PRESENT
    json = found.as_json()
    assert json["alarms"] == ["refusals up"]
    assert [one["metric"] for one in json["watched"] if one["alarm"]] == ["refusals"]


def test_false_alarms_share_the_stated_probability() -> None:
    needed = {one.drift.needed for one in look().watched if one.drift is not None}
    rules = RECIPE.monitoring
    assert needed == {1 / (rules.false_alarm / len(rules.alarms))}


def test_a_share_is_drawn_within_the_cost_and_the_rest_waits() -> None:
    found = look()
    plan = found.plans["people"]
    assert (plan.grades, plan.capped, plan.needed) == (60, True, 97)
    assert plan.share == pytest.approx(60 / (2 * REFERENCE / 2))
    assert len(found.to_grade) == pytest.approx(plan.share * 2 * PRESENT, abs=20)
    assert all(monitored("care", plan.share, name, "") for name in found.to_grade)
    assert set(found.to_grade) <= set(found.to_judge)  # the judge is asked about more
    again = look(given=[Grade(answer=found.to_grade[0], grader="ann", grade=1.0)])
    assert again.to_grade == found.to_grade[1:]
    assert again.to_judge == found.to_judge


def test_people_s_grades_correct_the_rules_and_agreement_is_shown() -> None:
    todo = look().to_grade
    now = {one.id: one for one in answers(PRESENT, AT.begins, 0.03, 2, "p")}
    given = [
        Grade(answer=name, grader="ann", grade=max(0.0, (now[name].grade or 0.0) - 0.3))
        for name in todo
    ]
    found = look(given=given)
    quality = found.quality["rules"]
    assert quality is not None
    ruled = sum(one.grade or 0.0 for one in now.values()) / len(now)
    assert quality.powered.mean == pytest.approx(ruled - 0.3, abs=0.03)
    widths = [one.high - one.low for one in (quality.powered, quality.alone)]
    assert widths[0] < 0.5 * widths[1]
    (agreed,) = found.agreements
    assert agreed.graders == ("rules", "people")
    assert agreed.answers == len(todo)
    assert found.quality["judge"] is None


def test_what_somebody_chose_to_grade_is_no_sample() -> None:
    drawn = set(look().to_grade)
    chosen = [
        Grade(answer=f"p{n}-0", grader="ann", grade=0.0)
        for n in range(PRESENT)
        if f"p{n}-0" not in drawn
    ]
    found = look(given=chosen)
    assert found.quality["rules"] is None
    assert found.agreements == ()


def test_the_judge_s_grades_help_and_are_held_against_people_s() -> None:
    first = look()
    given = [Grade(answer=name, grader="judge:base", grade=1.0) for name in first.to_judge]
    given += [Grade(answer=name, grader="ann", grade=1.0) for name in first.to_grade]
    found = look(given=given)
    assert found.to_judge == ()
    assert found.quality["judge"] is not None
    assert [one.graders for one in found.agreements] == [
        ("rules", "people"),
        ("judge", "people"),
        ("rules", "judge"),
    ]


def test_nothing_served_is_no_fault() -> None:
    found = report.report("care", [], [], [], RECIPE, AT)
    assert found.alarms == ()
    assert found.to_grade == ()
    assert found.plans["people"].grades == 0
