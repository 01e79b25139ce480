import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.trainers.test_sft import content, make_job
from training.errors import FineTuneFailed, RecipeError, TooLittleData
from training.execution import search
from training.execution.local import Worker
from training.execution.search import SearchTrial
from training.recipe.recipe import Recipe
from training.recipe.search import SearchConfig
from training.reports import search as search_report
from training.trainers.job import Job, Result


class Paper:
    """A trainer whose loss is a formula: least at the learning rate 1e-3 and rank 8."""

    def __init__(self, fails: set[int] = frozenset(), error: Exception | None = None) -> None:  # type: ignore[assignment]
        self.jobs: list[Job] = []
        self.fails = fails
        self.error = error or FineTuneFailed("the loss became infinite")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        return

    async def train(self, job: Job) -> Result:
        self.jobs.append(job)
        if len(self.jobs) in self.fails:
            raise self.error
        recipe = Recipe.model_validate(job.recipe)
        loss = abs(recipe.sft.learning_rate - 1e-3) + abs(recipe.lora.rank - 8) / 100
        return Result(
            f"{job.out}/adapter", 9, 0, 9, 3, 0.5, "cpu", 9, 9, [(1, 2.0)], validation_loss=loss
        )


def job(tmp_path: Path) -> Job:
    return Job("care", "base", "h", "d", "train.jsonl", str(tmp_path), {})


def recipe(**rules: Any) -> Recipe:
    return Recipe.model_validate({"search": rules})


RULES = st.builds(
    SearchConfig,
    learning_rate=st.none()
    | st.tuples(st.floats(1e-6, 1e-4), st.floats(1e-4, 1e-2)).filter(lambda ends: ends[0] > 0),
    rank=st.lists(st.integers(1, 64), unique=True, max_size=4).map(tuple),
    alpha_per_rank=st.lists(st.sampled_from([0.5, 1.0, 2.0]), unique=True).map(tuple),
    epochs=st.lists(st.sampled_from([1.0, 2.0, 3.0]), unique=True).map(tuple),
    seed=st.integers(0, 2**32),
)


@given(RULES, st.integers(1, 12))
def test_every_point_lies_within_the_ranges_and_none_comes_twice(
    rules: SearchConfig, count: int
) -> None:
    base = Recipe(search=rules)
    tried = search.recipes(base, count)
    assert search.recipes(base, count) == tried
    assert 1 <= len(tried) <= count
    own = search.values(base)
    assert search.values(tried[0]) == own
    low, high = rules.learning_rate or (own["learning_rate"] / 4, own["learning_rate"] * 4)
    for changed in tried[1:]:
        values = search.values(changed)
        assert low <= values["learning_rate"] <= high
        assert values["rank"] in (rules.rank or (own["rank"],))
        assert values["epochs"] in (rules.epochs or (own["epochs"],))
        ratios = rules.alpha_per_rank or (own["alpha"] / own["rank"],)
        assert values["alpha"] / values["rank"] in [pytest.approx(ratio) for ratio in ratios]
    assert len({str(changed) for changed in tried}) == len(tried)
    assert all(changed.validation.share == 0.15 for changed in tried)


@given(st.integers(0, 1000))
def test_a_few_points_cover_the_range(seed: int) -> None:
    rules = {"learning_rate": (1e-5, 1e-3), "rank": (4, 8), "seed": seed}
    tried = [search.values(changed) for changed in search.recipes(recipe(**rules), 9)[1:]]
    assert {point["rank"] for point in tried} == {4, 8}
    assert sum(point["learning_rate"] < 1e-4 for point in tried) in (3, 4, 5)


def test_a_space_of_few_points_gives_no_more_trials() -> None:
    rules = {"learning_rate": (2e-4, 2e-4), "rank": (8, 16)}
    assert len(search.recipes(recipe(**rules), 50)) == 2


def test_a_recipe_that_saves_checkpoints_can_be_searched() -> None:
    stages = {"sft": {"checkpoint_steps": 5}, "dpo": {"checkpoint_steps": 5}}
    tried = search.recipes(Recipe.model_validate({"method": "sft_dpo", **stages}), 2)
    assert [changed.validation.share for changed in tried] == [0.15, 0.15]


def test_only_what_is_searched_changes() -> None:
    base = Recipe.model_validate(
        {"method": "sft_dpo", "validation": {"share": 0.3}, "resources": {"where": "ray"}}
    )
    for changed in search.recipes(base, 4):
        assert changed.dpo.learning_rate <= 4 * base.dpo.learning_rate
        same = {"dpo": base.dpo, "lora": base.lora}
        assert changed.model_copy(update=same) == base


async def test_the_best_trial_is_taken_and_failed_ones_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "training")
    trainer = Paper(fails={2})
    base = recipe(learning_rate=(1e-4, 1e-2), rank=(8, 16))
    found = await search.run(trainer, job(tmp_path), base, 6)
    assert [trial.number for trial in found.trials] == [1, 2, 3, 4, 5, 6]
    assert found.trials[1].failure == "the loss became infinite"
    losses = {trial.number: trial.loss for trial in found.trials if trial.loss is not None}
    assert len(losses) == 5
    assert losses[found.best] == min(losses.values()) == found.result.validation_loss
    assert trainer.jobs[found.best - 1].recipe == found.recipe.model_dump(mode="json")
    assert found.result.adapter == f"{tmp_path}/trial-{found.best}/adapter"
    assert "the loss became infinite" in caplog.messages[1]


async def test_a_search_that_was_killed_repeats_nothing(tmp_path: Path) -> None:
    first = Paper(fails={3}, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await search.run(first, job(tmp_path), recipe(), 4)
    (tmp_path / "trial-1" / "adapter").mkdir()
    (tmp_path / "trial-2" / "adapter").mkdir()
    again = Paper()
    found = await search.run(again, job(tmp_path), recipe(), 4)
    assert [Path(done.out).name for done in again.jobs] == ["trial-3", "trial-4"]
    assert len(found.trials) == 4
    changed = Paper()
    await search.run(changed, job(tmp_path), recipe(learning_rate=(1e-3, 2e-3)), 3)
    assert len(changed.jobs) == 3


async def test_a_search_in_which_all_fail_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FineTuneFailed, match="none of 2 trials; the loss became infinite"):
        await search.run(Paper(fails={1, 2}), job(tmp_path), recipe(), 2)


async def test_what_no_trial_can_mend_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData):
        await search.run(Paper({1}, TooLittleData("3 pairs")), job(tmp_path), recipe(), 2)


def test_a_rank_that_the_server_could_not_load_is_refused() -> None:
    search.check(recipe(rank=(8, 16)), max_rank=16)
    with pytest.raises(RecipeError, match=r"search\.rank: \[32\] exceed"):
        search.check(recipe(rank=(8, 32)), max_rank=16)


@pytest.mark.parametrize(
    "rules", [{"learning_rate": (2e-3, 1e-3)}, {"rank": (8, 8)}, {"epochs": (0,)}]
)
def test_ranges_that_make_no_sense_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SearchConfig(**rules)


def test_the_report_marks_the_best_and_draws_those_that_ended() -> None:
    values = {"learning_rate": 1e-3, "epochs": 1.0, "rank": 8, "alpha": 16.0}
    first = SearchTrial(1, values, 2.0, 1.0)
    trials = (first, replace(first, number=2, loss=1.0), replace(first, number=3, loss=None))
    assert [trial["best"] for trial in search_report.as_json(trials)] == [False, True, False]
    assert search_report.plots(trials)[search_report.PLOT].startswith(b"\x89PNG")
    assert search_report.plots(()) == {}


@pytest.mark.slow
async def test_a_real_search_takes_the_lowest_loss_and_skips_what_diverges(
    tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    base = tiny_recipe.model_copy(
        update={
            "search": SearchConfig(learning_rate=(1e30, 1e30), rank=(4,), validation_share=0.25)
        }
    )
    start = make_job(tiny_base, train_file, tmp_path / "a", base)
    async with Worker() as worker:
        diverges = await search.run(worker, start, base, 2)
        rules = SearchConfig(learning_rate=(1e-4, 1e-2), rank=(2, 4), validation_share=0.25)
        base = tiny_recipe.model_copy(update={"search": rules})
        found = await search.run(worker, replace(start, out=str(tmp_path / "b")), base, 3)
        again = await worker.train(
            replace(start, out=str(tmp_path / "c"), recipe=found.recipe.model_dump(mode="json"))
        )
    assert diverges.best == 1
    assert diverges.trials[1].loss is None
    losses = [trial.loss for trial in found.trials]
    assert len(set(losses)) == 3
    assert found.result.validation_loss == min(loss for loss in losses if loss is not None)
    assert found.result.examples < 16
    assert content(again.adapter) == content(found.result.adapter)
