"""Each model is asked as it would be asked in production."""

import re
from pathlib import Path

import pytest

from serving.adapters.registry import Registry
from serving.config.prompts import Prompt
from serving.config.settings import Settings
from serving.store.database import Database
from tests.training.records import GATE_OF_FIVE
from tests.training.stand_in import StandIn, wanted
from tests.training.stub_server import Stub, serving
from tests.training.with_prompts import BETTER, better, configured, fill, store
from training import pipeline
from training.candidates import prompt as candidates
from training.recipe.recipe import Recipe

__all__ = ["better", "configured", "store"]

RECIPE = Recipe.model_validate(
    {
        "curation": {"min_examples": 10, "min_conversations": 8, "golden_share": 0},
        "gate": GATE_OF_FIVE,
        "lora": {"rank": 4},
        "start": "live",
        "sft": {"device": "cpu"},
    }
)


@pytest.mark.parametrize("model", [None, "big"])
async def test_a_training_beside_a_live_prompt_learns_judges_and_publishes_by_it(
    store: Database,
    settings: Settings,
    configured: Prompt,
    better: Path,
    tmp_path: Path,
    model: str | None,
) -> None:
    """Stored by the configured prompt; live has its own: the examples take its form.

    Whether the base answers by that prompt or another model does.
    """
    upstream = {"big": {"url": "http://big/v1", "model": "big-1"}}
    settings = Settings.model_validate(settings.model_dump(mode="json") | {"upstreams": upstream})
    await fill(store, configured)
    registry = Registry(store, settings.adapters.uri)
    await candidates.add(store, settings, "care", {"suggestion": better}, model)
    await registry.switch("care", live="care@1", action="promote")
    asked: list[str] = []

    def answer(model: str, prompt: str) -> str:
        asked.append(prompt)
        return wanted(prompt) if model == "care@2" else "something else entirely"

    trainer = StandIn()
    with serving(Stub(answer)) as stub:
        outcome = await pipeline.run(
            "care",
            config=tmp_path / "config.yaml",
            settings=settings,
            recipe=RECIPE,
            out=tmp_path / "runs",
            url=stub.url,
            worker=trainer,
        )
    second = await registry.get("care@2")
    assert second is not None
    assert outcome.decision.accepted
    assert all(re.fullmatch(r"conversation i\d+", prompt) for prompt in asked)
    assert trainer.jobs[0].start is None, "a prompt alone and another model have no weights"
    assert (second.parent, second.prompts and [*second.prompts]) == ("care@1", ["suggestion"])
    assert (Path(second.uri) / "prompts" / "suggestion.jinja").read_text() == BETTER
    assert second.upstream is None
    told = outcome.dataset.manifest["prompts"]
    assert (told["version"], told["rendered_anew"], told["as_stored"]) == ("care@1", 20, 0)
    learned = (outcome.dataset.folder / "train.jsonl").read_text()
    assert "Be exact." in learned
    assert "asked" not in learned
