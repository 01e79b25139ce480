"""A look at a line's production: figures, what graders say of each other, alarms. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serving.draws import draw, monitored
from training.monitoring import grades as grading
from training.monitoring import sample, windows
from training.monitoring.grades import Agreement, Grade
from training.monitoring.rules import Answer
from training.monitoring.sample import Plan
from training.monitoring.windows import Conversation, Windows
from training.recipe.monitoring import AlarmRule, MonitoringConfig
from training.recipe.recipe import Recipe
from training.stats import drift, powered_mean
from training.stats.drift import Drift
from training.stats.powered_mean import Powered

GRADERS = ("people", "judge")


@dataclass(frozen=True)
class Watched:
    """A rule, and what it found.

    Args:
        rule: The figure, the direction that is a fault, and the margin.
        drift: None where the reference or the present has no value yet.
    """

    rule: AlarmRule
    drift: Drift | None

    @property
    def alarms(self) -> bool:
        """Whether it raised the alarm, now or earlier in the period."""
        return self.drift is not None and self.drift.after is not None

    @property
    def name(self) -> str:
        """Such as `refusals up`."""
        return f"{self.rule.metric} {self.rule.direction}"


@dataclass(frozen=True)
class Report:
    """What a look found.

    Args:
        lob: The line of business.
        windows: Reference and present.
        answers: Of the reference and of the present.
        conversations: That count, of the reference and of the present.
        watched: The rules, in the recipe's order.
        quality: People's mean grade of the present's answers, helped by `rules` and by `judge`;
            None of too few grades.
        agreements: Of two graders each, over reference and present.
        plans: What is drawn for `people` and for the `judge`.
        to_grade: Answer ids that are drawn for people and have no grade of theirs, oldest first.
        to_judge: The same of the judge.
    """

    lob: str
    windows: Windows
    answers: tuple[int, int]
    conversations: tuple[int, int]
    watched: tuple[Watched, ...]
    quality: Mapping[str, Powered | None]
    agreements: tuple[Agreement, ...]
    plans: Mapping[str, Plan]
    to_grade: tuple[str, ...]
    to_judge: tuple[str, ...]

    @property
    def alarms(self) -> tuple[Watched, ...]:
        """The rules that raised the alarm in this period."""
        return tuple(one for one in self.watched if one.alarms)

    def as_json(self) -> dict[str, Any]:
        """Return the report for a program."""
        watched = [
            {**one.rule.model_dump(), "alarm": one.alarms, "drift": one.drift and asdict(one.drift)}
            for one in self.watched
        ]
        rest = {
            name: getattr(self, name)
            for name in ("lob", "answers", "conversations", "plans", "to_grade", "to_judge")
        }
        return {
            **rest,
            "windows": asdict(self.windows),
            "alarms": [one.name for one in self.alarms],
            "watched": watched,
            "quality": {name: one and asdict(one) for name, one in self.quality.items()},
            "agreements": [asdict(one) for one in self.agreements],
        }


def report(
    lob: str,
    reference: Sequence[Answer],
    present: Sequence[Answer],
    given: Sequence[Grade],
    recipe: Recipe,
    at: Windows,
) -> Report:
    """Weigh a line's production.

    Args:
        lob: The line of business.
        reference: Answers of the reference's window, and of `window_s` before and after it.
        present: Answers of the present's window, and of `window_s` before it.
        given: Grades of answers, in the order in which they came.
        recipe: The line's.
        at: The windows.
    """
    rules = recipe.monitoring
    before = windows.conversations(reference, at.since, at.until, rules, at.now)
    before.sort(key=lambda one: draw("reference", one.id))  # no hour is compared with its own alone
    now = windows.conversations(present, at.begins, at.ends, rules, at.now)
    sides = [[answer for one in side for answer in one.answers] for side in (before, now)]
    said = {name: grading.merged(given, by_judge=name == "judge") for name in GRADERS}
    plans = _plans(sides[0], said, rules)

    def drawn(name: str, answer: Answer) -> bool:
        share = plans[name].share
        return answer.grade is not None and monitored(lob, share, answer.id, rules.salt)

    by_chance = {  # what somebody chose to grade says nothing of the rest
        name: {answer.id for side in sides for answer in side if drawn(name, answer)}
        for name in GRADERS
    }
    said = {name: {k: v for k, v in said[name].items() if k in by_chance[name]} for name in GRADERS}
    todo = {
        name: tuple(
            answer.id
            for answer in sides[1]
            if answer.id in by_chance[name] and answer.id not in said[name]
        )
        for name in GRADERS
    }
    return Report(
        lob=lob,
        windows=at,
        answers=(len(sides[0]), len(sides[1])),
        conversations=(len(before), len(now)),
        watched=_watch(before, now, said, rules),
        quality=_quality(sides[1], said, rules.confidence),
        agreements=_agreements([*sides[0], *sides[1]], said, recipe),
        plans=plans,
        to_grade=todo["people"],
        to_judge=todo["judge"],
    )


def _plans(
    reference: Sequence[Answer], said: Mapping[str, Mapping[str, float]], rules: MonitoringConfig
) -> dict[str, Plan]:
    """Plan by the reference alone, so that a period's shares stay as they are."""
    gradable = [answer.id for answer in reference if answer.grade is not None]
    expected = round(len(gradable) * rules.period_days / rules.reference_days)
    found = {}
    for name, wanted in (("people", rules.people), ("judge", rules.judge)):
        known = [said[name][id_] for id_ in gradable if id_ in said[name]]
        found[name] = sample.plan(
            wanted,
            confidence=rules.confidence,
            expected=expected,
            deviation=sample.deviation_of(known),
        )
    return found


def _watch(
    before: Sequence[Conversation],
    now: Sequence[Conversation],
    said: Mapping[str, Mapping[str, float]],
    rules: MonitoringConfig,
) -> tuple[Watched, ...]:
    typical = windows.typical_length(before)

    def of(side: Sequence[Conversation], metric: str) -> list[float]:
        if metric in said:
            return windows.in_order_of_grades(side, said[metric])
        return windows.values(side, metric, typical)

    found = []
    for rule in rules.alarms:
        known, seen = of(before, rule.metric), of(now, rule.metric)
        test = drift.rise if rule.direction == "up" else drift.fall
        found.append(
            Watched(
                rule,
                test(
                    known,
                    seen,
                    margin=rule.margin,
                    alpha=rules.false_alarm / len(rules.alarms),
                    confidence=rules.confidence,
                )
                if known and seen
                else None,
            )
        )
    return tuple(found)


def _quality(
    answers: Sequence[Answer], said: Mapping[str, Mapping[str, float]], confidence: float
) -> dict[str, Powered | None]:
    """Return people's mean, by the rules' grades of all and by the judge's of what it graded."""
    ruled = {answer.id: answer.grade for answer in answers if answer.grade is not None}
    of = {answer.id: answer.conversation for answer in answers}
    judged = {id_: said["judge"][id_] for id_ in ruled if id_ in said["judge"]}
    return {
        name: powered_mean.mean(
            list(machine.values()),
            [said["people"].get(id_, math.nan) for id_ in machine],
            groups=[of[id_] for id_ in machine],
            confidence=confidence,
        )
        for name, machine in (("rules", ruled), ("judge", judged))
    }


def _agreements(
    answers: Sequence[Answer], said: Mapping[str, Mapping[str, float]], recipe: Recipe
) -> tuple[Agreement, ...]:
    of = {answer.id: answer.conversation for answer in answers}
    by = {
        "rules": {answer.id: answer.grade for answer in answers if answer.grade is not None},
        **said,
    }
    found = (
        grading.agreement((one, other), by[one], by[other], of, recipe.evaluation)
        for one, other in (("rules", "people"), ("judge", "people"), ("rules", "judge"))
    )
    return tuple(one for one in found if one is not None)
