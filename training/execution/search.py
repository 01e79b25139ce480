"""A small search for hyperparameters: `switchboard train LOB --search N`.

Trials are compared by their loss on a share of the *training* conversations. The hold-out is never
asked: the best of N trials on it would be the luckiest of them too, and the gate's interval, which
counts on a candidate that was not chosen by it, would promise more than is true.

The first trial is the recipe itself, so a search cannot choose worse, on that loss, than no search.
The others are points of a Halton sequence, scrambled by the seed: few points cover all dimensions
evenly, where a grid of as many repeats the same few values of each (Bergstra and Bengio 2012).
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.errors import FineTuneFailed, RecipeError
from training.execution.executor import Trainer
from training.recipe.recipe import Recipe
from training.trainers.job import Job, Result

logger = logging.getLogger(__name__)

VARIED = 4  # learning rate, epochs, rank, alpha
DIGITS = 3  # of a learning rate
RESULT = "result.json"


@dataclass(frozen=True)
class SearchTrial:
    """One set of values and what it gave.

    Args:
        number: From 1; the first is the recipe's own.
        values: learning_rate, epochs, rank and alpha.
        loss: On the validation conversations, in nats per token for SFT; None if it failed.
        seconds: Wall time of the training.
        failure: Why there is no loss; empty if there is one.
    """

    number: int
    values: dict[str, float]
    loss: float | None
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Args:
        recipe: The best trial's.
        result: Its adapter, which is used as it is: its loss is known.
        trials: All, in their order.
        best: The best one's number.
    """

    recipe: Recipe
    result: Result
    trials: tuple[SearchTrial, ...]
    best: int


def recipes(recipe: Recipe, count: int) -> list[Recipe]:
    """Return the recipes to try: its own first, no two alike.

    Args:
        recipe: Whose `search` section says what is varied.
        count: How many at most; fewer if there are no more.
    """
    from scipy.stats.qmc import Halton  # scipy.stats takes a second to import

    rules = recipe.search
    recipe = _validated(recipe)
    found = [recipe]
    for point in Halton(VARIED, rng=rules.seed).random(20 * count):  # discrete points come again
        if len(found) >= count:
            break
        changed = _at(recipe, point.tolist())
        if changed not in found:
            found.append(changed)
    return found[:count]


def check(recipe: Recipe, max_rank: int) -> None:
    """Refuse a search whose adapters could not be served.

    Raises:
        RecipeError: A rank exceeds the server's.
    """
    if too_high := [rank for rank in recipe.search.rank if rank > max_rank]:
        raise RecipeError(
            f"search.rank: {too_high} exceed the server's adapters.max_rank of {max_rank}. "
            "Fix: leave them out or raise it"
        )


def values(recipe: Recipe) -> dict[str, float]:
    """Return what a search varies, as a recipe has it."""
    rules = getattr(recipe, _stage(recipe))
    return {
        "learning_rate": rules.learning_rate,
        "epochs": rules.epochs,
        "rank": recipe.lora.rank,
        "alpha": recipe.lora.alpha,
    }


def best(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """Return the trial with the lowest loss, of equals the first; None if all failed."""
    finished = [trial for trial in trials if trial.loss is not None]
    return min(finished, key=lambda t: (t.loss, t.number), default=None)


async def run(
    trainer: Trainer,
    job: Job,
    recipe: Recipe,
    count: int,
) -> Found:
    """Try `count` recipes one after the other and return the best.

    A trial that fails, as by a loss that is not finite, is skipped. One that an earlier, killed
    search has finished in `job.out` is not repeated.

    Args:
        trainer: Does the trials.
        job: The job; its recipe is replaced by each trial's.
        recipe: Its recipe.
        count: How many trials.

    Raises:
        FineTuneFailed: No trial succeeded.
    """
    tried = recipes(recipe, count)
    trials: list[SearchTrial] = []
    results: dict[int, Result] = {}
    for number, changed in enumerate(tried, 1):
        out = Path(job.out) / f"trial-{number}"
        content = changed.model_dump(mode="json")
        try:
            result = _finished(out, content) or await trainer.train(
                replace(job, out=str(out), recipe=content)
            )
            trial = _judged(number, changed, result)
            _keep(out, content, result)
            results[number] = result
        except FineTuneFailed as exc:
            trial = SearchTrial(number, values(changed), None, 0.0, exc.message)
        trials.append(trial)
        outcome = trial.failure if trial.loss is None else f"validation loss {trial.loss:.4f}"
        logger.info(f"{job.lob}: trial {number} of {len(tried)}: {said(trial.values)}: {outcome}")
    winner = best(trials)
    if winner is None:
        raise FineTuneFailed(f"{job.lob}: none of {len(trials)} trials; {trials[0].failure}")
    logger.info(f"{job.lob}: trial {winner.number} is the best: {said(winner.values)}")
    index = winner.number
    return Found(tried[index - 1], results[index], tuple(trials), index)


def said(values: dict[str, float]) -> str:
    """Return values as a person reads them."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _judged(number: int, recipe: Recipe, result: Result) -> SearchTrial:
    loss = result.validation_loss
    if loss is None or not math.isfinite(loss):
        raise FineTuneFailed(f"the validation loss is {loss}")
    return SearchTrial(number, values(recipe), loss, result.seconds)


def _validated(recipe: Recipe) -> Recipe:
    """Give a recipe that keeps no validation conversations back some to be compared on."""
    if recipe.validation.share:
        return recipe
    # A checkpoint is saved at each look at them, instead of every so many steps.
    sections: dict[str, dict[str, Any]] = {
        name: {"checkpoint_steps": None} for name, _ in recipe.stages
    }
    return _changed(recipe, sections | {"validation": {"share": recipe.search.validation_share}})


def _at(recipe: Recipe, point: Sequence[float]) -> Recipe:
    """Return the recipe at a point of the unit cube: learning rate, rank, epochs, alpha."""
    rules, now = recipe.search, values(recipe)
    low, high = rules.learning_rate or (now["learning_rate"] / 4, now["learning_rate"] * 4)
    rate = float(f"{low * (high / low) ** point[0]:.{DIGITS}g}")
    rank = _choice(rules.rank or (recipe.lora.rank,), point[1])
    epochs = _choice(rules.epochs or (now["epochs"],), point[2])
    ratio = _choice(rules.alpha_per_rank or (recipe.lora.alpha / recipe.lora.rank,), point[3])
    stage = {"learning_rate": min(max(rate, low), high), "epochs": epochs}
    return _changed(recipe, {_stage(recipe): stage, "lora": {"rank": rank, "alpha": ratio * rank}})


def _choice(values: Sequence[Any], place: float) -> Any:
    return values[int(place * len(values))]


def _changed(recipe: Recipe, sections: dict[str, dict[str, Any]]) -> Recipe:
    """Return a recipe with other values, checked as if they had been written."""
    content = recipe.model_dump()
    for name, keys in sections.items():
        content[name] |= keys
    return Recipe.model_validate(content | {"resources": recipe.resources})


def _stage(recipe: Recipe) -> str:
    """Return the section of the stage whose loss is compared."""
    return recipe.stages[-1][0]


def _keep(folder: Path, recipe: dict[str, Any], result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"recipe": recipe, "result": asdict(result)})
    (folder / RESULT).write_text(text, encoding="utf-8")


def _finished(folder: Path, recipe: dict[str, Any]) -> Result | None:
    """Return what an earlier search has finished with the same recipe."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if content["recipe"] != recipe or not Path(content["result"]["adapter"]).is_dir():
        return None
    return Result(**content["result"])
