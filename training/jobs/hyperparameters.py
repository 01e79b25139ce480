"""What a job asks for, put into the line's recipe. Pure."""

from typing import Any, Literal

from pydantic import ValidationError

from serving.store.jobs.records import AUTO, JobRecord
from serving.store.records import Json
from training.errors import RecipeError
from training.recipe.methods import OptimizationConfig
from training.recipe.recipe import Recipe
from training.trainers.job import Result

MIN_EXAMPLES = 10
"""As OpenAI asks for: with fewer lines nothing is trained."""
_METHODS: dict[str, Literal["sft", "dpo", "kto"]] = {
    "supervised": "sft",
    "dpo": "dpo",
    "kto": "kto",
}


def recipe_of(recipe: Recipe, job: JobRecord, base: str) -> Recipe:
    """Return the recipe of a job.

    What the job leaves to "auto" is the recipe's. All lines of the file are learned from, none kept
    back to validate by. A job on the base begins anew; one on its line begins as the recipe says.

    Args:
        recipe: The line's.
        job: The job.
        base: The base model's name.

    Raises:
        RecipeError: The two do not go together; names the key.
    """
    name = _METHODS[job.method["type"]]
    given = {key: value for key, value in _numbers(job).items() if value != AUTO}
    section: OptimizationConfig = getattr(recipe, name)
    changes: dict[str, Any] = {"seed": job.seed}
    if "n_epochs" in given:
        changes |= {"epochs": given["n_epochs"], "max_steps": None}
    if "batch_size" in given:
        changes["batch_size"] = given["batch_size"]
    if "learning_rate_multiplier" in given:
        changes["learning_rate"] = section.learning_rate * given["learning_rate_multiplier"]
    if "beta" in given:
        changes["beta"] = given["beta"]
    if name == "dpo":
        changes["min_pairs"] = min(recipe.dpo.min_pairs, MIN_EXAMPLES)
    content = recipe.model_dump() | {
        "method": name,
        name: section.model_dump() | changes,
        "validation": {},
        "student": None,
        "start": "fresh" if job.model == base else recipe.start,
    }
    try:
        made = Recipe.model_validate(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{key}: {first['msg']} (got {first['input']!r})", param=key) from exc
    return made.model_copy(update={"resources": recipe.resources})


def method_of(recipe: Recipe, job: JobRecord) -> Json:
    """Return the job's method with the numbers that its recipe has in the place of "auto"."""
    section: OptimizationConfig = getattr(recipe, _METHODS[job.method["type"]])
    epochs = section.epochs
    known: dict[str, Any] = {
        "n_epochs": int(epochs) if epochs == int(epochs) else AUTO,  # the API's are whole
        "batch_size": section.batch_size,
        "learning_rate_multiplier": 1.0,
        "beta": getattr(section, "beta", AUTO),
    }
    numbers = {key: known[key] if v == AUTO else v for key, v in _numbers(job).items()}
    return {"type": job.method["type"], "hyperparameters": numbers}


def trained_tokens(recipe: Recipe, result: Result) -> int:
    """Return how many tokens were learned from: those of the examples, once for each epoch.

    Args:
        recipe: The job's.
        result: What training gave.
    """
    (_, rules), *_ = recipe.stages
    seen = result.steps * rules.batch_size * rules.gradient_accumulation
    return round(result.tokens * min(rules.epochs, seen / max(1, result.examples)))


def _numbers(job: JobRecord) -> Json:
    numbers: Json = job.method["hyperparameters"]
    return numbers
