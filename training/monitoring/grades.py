"""Grades of single answers, whoever gave them, and how far graders agree.

A grade is an answer's id, a grader and a number in [0, 1], 1 best; in a file, a JSON object a line.
A grader whose name begins with `judge:` is a model, every other is a person. Agreement is counted
on good and bad, split at `GOOD`: Cohen's kappa is what exceeds chance ("A Coefficient of Agreement
for Nominal Scales", Educational and Psychological Measurement 20, 1960).
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import DatasetError
from training.evaluation.judge_agreement import kappa
from training.recipe.recipe import EvaluationConfig
from training.stats import bootstrap, proportions
from training.stats.bootstrap import Interval

JUDGE = "judge:"
GOOD = 0.5
"""A grade of at least this calls an answer good."""


class Grade(BaseModel):
    """What one grader thinks of one answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: str = Field(min_length=1, description="The response's id.")
    grader: str = Field(min_length=1, description="judge:MODEL, or a person.")
    grade: float = Field(ge=0, le=1, description="1 is best.")


@dataclass(frozen=True)
class Agreement:
    """How far two graders agree on good and bad.

    Args:
        graders: Who.
        answers: That both graded.
        share: On which they agree, Wilson's interval over conversations.
        kappa: Cohen's, by a bootstrap over conversations; None of fewer than two.
    """

    graders: tuple[str, str]
    answers: int
    share: Interval
    kappa: Interval | None


def read(file: Path) -> list[Grade]:
    """Read grades.

    Args:
        file: A JSON object a line; blank lines are skipped.

    Raises:
        DatasetError: It cannot be read, or a line holds no grade; names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{file}: cannot be read ({exc})") from exc
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(Grade.model_validate_json(line))
        except ValidationError as exc:
            first = exc.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the line"
            raise DatasetError(
                f"{file}, line {number}: {key}: {first['msg']}. Fix: "
                '{"answer": "chatcmpl-…", "grader": "ann", "grade": 0.5}'
            ) from exc
    return found


def append(file: Path, grades: Iterable[Grade]) -> None:
    """Add grades to a file; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(one.model_dump()) + "\n" for one in grades)


def merged(grades: Iterable[Grade], *, by_judge: bool) -> dict[str, float]:
    """Return the mean grade of each answer by people, or by judges, as their first ones came.

    A grader's later grade of the same answer replaces the earlier.
    """
    said: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for one in grades:
        if one.grader.startswith(JUDGE) == by_judge:
            said[one.answer][one.grader] = one.grade
    return {answer: fmean(found.values()) for answer, found in said.items()}


def agreement(
    graders: tuple[str, str],
    one: Mapping[str, float],
    other: Mapping[str, float],
    conversations: Mapping[str, str],
    rules: EvaluationConfig,
) -> Agreement | None:
    """Compare two graders; None where no answer was graded by both.

    Args:
        graders: Their names.
        one: Answer id to the first one's grade.
        other: To the second one's.
        conversations: Answer id to its conversation; others are left out.
        rules: Resamples, confidence and seed of the intervals.
    """
    both = [answer for answer in one if answer in other and answer in conversations]
    if not both:
        return None
    rated = [(one[answer] >= GOOD, other[answer] >= GOOD) for answer in both]
    groups = [conversations[answer] for answer in both]
    return Agreement(
        graders,
        len(both),
        proportions.wilson_clustered(
            [a == b for a, b in rated], groups, confidence=rules.confidence
        ),
        _kappa(rated, groups, rules),
    )


def _kappa(
    rated: Sequence[tuple[bool, bool]], groups: Sequence[str], rules: EvaluationConfig
) -> Interval | None:
    tables = {name: np.zeros((2, 2)) for name in groups}
    for (a, b), name in zip(rated, groups, strict=True):
        tables[name][int(a), int(b)] += 1
    if len(tables) < 2:
        return None
    return bootstrap.statistic(
        np.stack([table.ravel() for table in tables.values()]),
        lambda sums: kappa(sums.reshape(-1, 2, 2)),
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=rules.seed,
    )
