"""What a job asks for, put into the line's recipe."""

from typing import Any

import pytest

from serving.store.jobs.records import JobRecord
from training.errors import RecipeError
from training.jobs import hyperparameters
from training.recipe.recipe import Recipe
from training.recipe.resources import ResourcesConfig
from training.trainers.job import Result


def job(kind: str = "supervised", model: str = "care", /, **numbers: Any) -> JobRecord:
    every = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    if kind != "supervised":
        every |= {"beta": "auto"}
    return JobRecord(
        id="ftjob-1",
        key_id="k",
        lob="care",
        model=model,
        training_file="file-1",
        seed=11,
        method={"type": kind, "hyperparameters": every | numbers},
    )


LINE = Recipe.model_validate(
    {
        "start": "live",
        "sft": {"epochs": 2, "max_steps": 5, "learning_rate": 1e-3, "threads": 1},
        "dpo": {"epochs": 1.5},
        "kto": {"min_each": 4},
        "validation": {"share": 0.2},
        "resources": {"nice": 3},
    }
)


def test_auto_is_what_the_lines_recipe_says() -> None:
    made = hyperparameters.recipe_of(LINE, job(), "base")
    assert made.sft == LINE.sft.model_copy(update={"seed": 11})
    assert (made.method, made.start, made.resources) == ("sft", "live", LINE.resources)
    assert made.resources != ResourcesConfig()
    assert made.validation.share == 0  # every line of a file is learned


def test_what_is_asked_for_is_put_in_its_place() -> None:
    asked = job("supervised", n_epochs=4, batch_size=2, learning_rate_multiplier=0.5)
    made = hyperparameters.recipe_of(LINE, asked, "base").sft
    assert (made.epochs, made.max_steps, made.batch_size) == (4, None, 2)
    assert made.learning_rate == pytest.approx(5e-4)
    assert made.threads == 1
    made_dpo = hyperparameters.recipe_of(LINE, job("dpo", beta=0.3), "base")
    assert (made_dpo.method, made_dpo.dpo.beta, made_dpo.dpo.min_pairs) == ("dpo", 0.3, 10)
    assert hyperparameters.recipe_of(LINE, job("kto"), "base").kto.min_each == 4


def test_a_job_on_the_base_begins_anew() -> None:
    assert hyperparameters.recipe_of(LINE, job("supervised", "base"), "base").start == "fresh"


def test_what_the_trainer_cannot_do_is_named() -> None:
    with pytest.raises(RecipeError, match=r"kto\.batch_size") as found:
        hyperparameters.recipe_of(LINE, job("kto", batch_size=1), "base")
    assert found.value.param == "kto.batch_size"


def test_the_numbers_that_are_used_are_told() -> None:
    asked = job("supervised", batch_size=2)
    told = hyperparameters.method_of(hyperparameters.recipe_of(LINE, asked, "base"), asked)
    assert told == {
        "type": "supervised",
        "hyperparameters": {"n_epochs": 2, "batch_size": 2, "learning_rate_multiplier": 1.0},
    }
    asked = job("dpo", n_epochs=3)
    told = hyperparameters.method_of(hyperparameters.recipe_of(LINE, asked, "base"), asked)
    assert told["hyperparameters"]["beta"] == 0.1
    told = hyperparameters.method_of(LINE, job("dpo"))
    assert told["hyperparameters"]["n_epochs"] == "auto"  # one and a half has no whole number


@pytest.mark.parametrize(("steps", "tokens"), [(8, 1000), (2, 250), (100, 1000)])
def test_tokens_count_once_an_epoch(steps: int, tokens: int) -> None:
    recipe = Recipe.model_validate({"sft": {"epochs": 2, "batch_size": 4}})
    done = Result("a", 16, 0, 500, steps, 1.0, "cpu", 1, 1)
    assert hyperparameters.trained_tokens(recipe, done) == tokens
