"""What one run of the pipeline made: the value that it returns and that the report shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.dataset import Dataset
from training.evaluation.checks import Findings
from training.evaluation.gate import GateDecision
from training.evaluation.scores import Scores
from training.execution.search import SearchTrial
from training.recipe.recipe import Recipe
from training.reports.cost import Cost
from training.stats.bootstrap import Interval
from training.trainers.job import Result


@dataclass(frozen=True)
class Outcome:
    """What a run made.

    Args:
        lob: The line of business.
        version: The version, such as care@7.
        recipe: What it was made by.
        dataset: What it was trained and judged on.
        decision: The gate's, with its reasons.
        differences: Interval of `candidate - live` for each metric.
        base: The base's scores.
        live: The scores of what served when the run began; the base's if nothing was live.
        candidate: The new version's scores.
        training: The fine-tuning's figures; None of a version that is another prompt.
        rollout: The promotion, if there was one.
        folder: The report's folder: report.md, report.html, report.json and plots.
        guards: What the judge said and what was forgotten, as far as the recipe asked.
        seconds: Wall time of the whole run.
        cost: The same by step, and the processors' seconds.
        search: The trials of a search, if there was one; `recipe` is then the best one's.
        what: What the version is, where nothing was trained.
        left_out: Which held-out examples could not judge, in words.
    """

    lob: str
    version: str
    recipe: Recipe
    dataset: Dataset
    decision: GateDecision
    differences: Mapping[str, Interval]
    base: Scores
    live: Scores
    candidate: Scores
    training: Result | None
    rollout: dict[str, Any] | None
    folder: Path
    guards: Findings
    seconds: float
    cost: Cost = field(default_factory=Cost)
    search: tuple[SearchTrial, ...] = ()
    what: str = ""
    left_out: str = ""
