"""The gate of a prompt: each is asked by its own prompt, and too little is never a pass."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.adapters.registry import Registry
from serving.config.prompts import Prompt
from serving.config.settings import Settings
from serving.store.database import Database
from serving.store.records import State
from tests.training.records import GATE_OF_FIVE
from tests.training.stand_in import wanted
from tests.training.stub_server import Stub, serving
from tests.training.with_prompts import fill
from training.candidates import prompt as candidates
from training.candidates import run
from training.recipe.recipe import Recipe

KEY = "sb-trainer"


@pytest.fixture
def obedient() -> Iterator[Stub]:
    """A server whose models write what agents want when nothing else stands in the prompt."""

    def answer(_model: str, prompt: str) -> str:
        found = re.fullmatch(r"conversation i\d+", prompt)
        return wanted(prompt) if found else "something else entirely"

    with serving(Stub(answer)) as stub:
        yield stub


def recipe(**curation: int) -> Recipe:
    rules = {"min_examples": 10, "min_conversations": 8, "golden_share": 0, **curation}
    return Recipe.model_validate({"curation": rules, "gate": GATE_OF_FIVE})


async def judged(
    store: Database, settings: Settings, stub: Stub, added: candidates.Added, tmp_path: Path
) -> run.Ran:
    return await run.judge(
        store,
        added,
        config=tmp_path / "config.yaml",
        settings=settings,
        recipe=recipe(),
        out=tmp_path / "runs",
        url=stub.url,
        api_key=KEY,
    )


async def test_a_better_prompt_is_accepted_and_its_report_says_that_nothing_was_trained(
    store: Database,
    settings: Settings,
    configured: Prompt,
    obedient: Stub,
    better: Path,
    tmp_path: Path,
) -> None:
    await fill(store, configured)
    added = await candidates.add(store, settings, "care", {"suggestion": better})
    ran = await judged(store, settings, obedient, added, tmp_path)
    assert ran.outcome is not None
    assert ran.decision.accepted, ran.decision.reasons
    assert set(obedient.models) == {"base", "care@1"}
    assert len(ran.outcome.dataset.rolling) == 5
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert version.state is State.CANDIDATE
    assert version.decision["accepted"]
    assert version.metrics["edit_similarity"] == 1.0
    assert version.metrics["edit_similarity_live"] < 0.5
    assert version.metrics["training"] is None
    text = (ran.outcome.folder / "report.md").read_text()
    assert "Nothing was trained: care@1 is base with another prompt. Left out" in text
    assert "loss.png" not in text


async def test_a_worse_prompt_is_rejected(
    store: Database, settings: Settings, configured: Prompt, obedient: Stub, tmp_path: Path
) -> None:
    await fill(store, configured)
    file = tmp_path / "worse.jinja"
    file.write_text("{% block user %}Whatever: {{ turns[0].text }}{% endblock %}")
    added = await candidates.add(store, settings, "care", {"suggestion": file})
    ran = await judged(store, settings, obedient, added, tmp_path)
    assert not ran.decision.accepted
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert version.state is State.REJECTED


async def test_without_stored_turns_there_is_not_enough_and_the_count_is_named(
    store: Database,
    settings: Settings,
    configured: Prompt,
    obedient: Stub,
    better: Path,
    tmp_path: Path,
) -> None:
    await fill(store, configured, turns=False)
    added = await candidates.add(store, settings, "care", {"suggestion": better})
    ran = await judged(store, settings, obedient, added, tmp_path)
    (reason,) = ran.decision.reasons
    assert not ran.decision.accepted
    assert not reason.enough
    assert reason.text.startswith("Not enough data: 0 held-out conversations can be asked by both")
    assert "5 examples whose turns were not stored" in reason.text
    assert obedient.models == []
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert version.state is State.CANDIDATE, "nothing was shown against it either"
    assert version.decision["accepted"] is False


async def test_with_no_feedback_there_is_not_enough(
    store: Database, settings: Settings, obedient: Stub, better: Path, tmp_path: Path
) -> None:
    added = await candidates.add(store, settings, "care", {"suggestion": better})
    ran = await judged(store, settings, obedient, added, tmp_path)
    assert not ran.decision.accepted
    assert ran.decision.reasons[0].text.startswith("Not enough data: care: 0 usable examples")


async def test_what_the_prompt_does_not_change_judges_nothing(
    store: Database,
    settings: Settings,
    configured: Prompt,
    obedient: Stub,
    tmp_path: Path,
) -> None:
    await fill(store, configured)
    file = tmp_path / "summary.jinja"
    file.write_text("{% block user %}{{ turns | length }}{% endblock %}")
    added = await candidates.add(store, settings, "care", {"summary": file})
    ran = await judged(store, settings, obedient, added, tmp_path)
    assert "5 that the prompt changes nothing of" in ran.decision.reasons[0].text
    assert not ran.decision.accepted


async def test_live_is_asked_by_the_prompt_that_it_has(
    store: Database,
    settings: Settings,
    configured: Prompt,
    obedient: Stub,
    better: Path,
    tmp_path: Path,
) -> None:
    """Stored by the configured prompt; live has a good one of its own, the candidate a bad one."""
    await fill(store, configured)
    registry = Registry(store, settings.adapters.uri)
    await candidates.add(store, settings, "care", {"suggestion": better})
    await registry.switch("care", live="care@1", action="promote")
    same = settings.prompts / "default" / "suggestion.jinja"
    added = await candidates.add(store, settings, "care", {"suggestion": same})
    ran = await judged(store, settings, obedient, added, tmp_path)
    assert ran.outcome is not None
    assert ran.outcome.live.means["edit_similarity"].mean == 1.0
    assert ran.outcome.candidate.means["edit_similarity"].mean < 0.5
    assert not ran.decision.accepted


@pytest.mark.parametrize("turns", [True, False])
async def test_another_model_is_judged_by_all_that_is_held_out(
    store: Database,
    settings: Settings,
    configured: Prompt,
    tmp_path: Path,
    turns: bool,
) -> None:
    upstream = {"big": {"url": "http://big/v1", "model": "big-1"}}
    its = Settings.model_validate(settings.model_dump(mode="json") | {"upstreams": upstream})
    await fill(store, configured, turns=turns)
    added = await candidates.add(store, its, "care", {}, "big")

    def answer(model: str, prompt: str) -> str:
        found = re.search(r"conversation i\d+", prompt)
        return wanted(found[0]) if found and model == "care@1" else "something else entirely"

    with serving(Stub(answer)) as stub:
        ran = await judged(store, its, stub, added, tmp_path)
    assert ran.outcome is not None
    assert len(ran.outcome.dataset.rolling) == 5
    assert ran.decision.accepted, ran.decision.reasons
    text = (ran.outcome.folder / "report.md").read_text()
    assert "care@1 is big-1 of upstreams.big instead of base." in text
