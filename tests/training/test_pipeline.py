"""The whole run over a real store and registry; only the trainer and the server are stand-ins."""

import asyncio
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.erasure import run as erasing
from serving.errors import AdapterRefused, Conflict, NotFound
from serving.files.storage import FileStorage
from serving.store import audit, datasets, feedback, interactions
from serving.store.database import Database
from serving.store.records import State
from tests.training.records import GATE_OF_FIVE, drawn, labelled
from tests.training.records import feedback as said
from tests.training.stand_in import StandIn, wanted
from tests.training.stub_server import Stub, serving
from tests.waiting import until_async
from training import pipeline
from training.data import repository
from training.data.curation import curate
from training.errors import (
    DatasetError,
    EvaluationFailed,
    FineTuneFailed,
    RecipeError,
    TooLittleData,
)
from training.evaluation import gate
from training.execution.local import Worker
from training.recipe.judge import JudgeConfig
from training.recipe.recipe import Recipe
from training.reports import run as report
from training.trainers.job import Job, Result

KEY = "sb-trainer"
CONVERSATIONS = 20


ROOT = Path(__file__).parents[2]


def published(folder: str) -> list[str]:
    return [path.name for path in Path(folder).glob("*")]


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Database]:
    """Return a store with feedback from twenty conversations of care."""
    db = Database(settings.store.url)
    await db.open()
    rows = [
        labelled(
            f"i{n}",
            {"edit": wanted(f"conversation i{n}")},
            created_at=float(n),
            conversation_id=drawn(n >= CONVERSATIONS - 5, n),
        )
        for n in range(CONVERSATIONS)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        await feedback.add(db, row.feedback[0])
    yield db
    await db.close()


def recipe(**curation: int) -> Recipe:
    rules = {"min_examples": 10, "min_conversations": 8, "golden_share": 0, **curation}
    sections = {"curation": rules, "gate": GATE_OF_FIVE, "lora": {"rank": 4}}
    return Recipe.model_validate({**sections, "sft": {"device": "cpu"}})


def changed(**sections: object) -> Recipe:
    return Recipe.model_validate({**recipe().model_dump(), **sections})


@pytest.fixture
def bad() -> Iterator[Stub]:
    """A server whose adapters are no better than the base."""
    with serving(Stub(lambda _model, _prompt: "something else entirely")) as stub:
        yield stub


async def run(
    settings: Settings,
    stub: Stub,
    tmp_path: Path,
    *,
    worker: Worker | None = None,
    promote: bool = False,
    chosen: Recipe | None = None,
    dataset_id: str | None = None,
) -> pipeline.Outcome:
    return await pipeline.run(
        "care",
        config=tmp_path / "config.yaml",
        settings=settings,
        recipe=chosen or recipe(),
        out=tmp_path / "runs",
        url=stub.url,
        api_key=KEY,
        promote=promote,
        dataset_id=dataset_id,
        worker=worker or StandIn(),
    )


async def test_a_better_candidate_is_registered_with_its_lineage_and_judged(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    outcome = await run(settings, good, tmp_path, worker=trainer)
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert outcome.decision.accepted
    assert (version.state, version.parent, version.rank) == (State.CANDIDATE, None, 4)
    assert version.dataset_id == outcome.dataset.id == trainer.jobs[0].dataset_id
    assert version.base_hash == trainer.jobs[0].base_hash
    assert version.recipe == recipe().model_dump(mode="json")
    assert version.metrics["edit_similarity"] == 1.0
    assert version.metrics["edit_similarity_base"] < 0.5
    assert version.decision["accepted"] is True
    assert (await datasets.get(store, outcome.dataset.id)) is not None
    assert "adapter_model.safetensors" in published(version.uri)
    assert set(good.models) == {"base", "care@1"}
    assert good.keys == {f"Bearer {KEY}"}
    assert good.promoted == []
    assert list((tmp_path / "runs" / "work").glob("care-*/")) == []


async def test_the_audit_has_the_dataset_the_training_and_the_version(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    outcome = await run(settings, good, tmp_path)
    acts = [(one.action, one.target) for one in reversed(await audit.tail(store))]
    id_ = outcome.dataset.id
    assert acts[-3:] == [("build_dataset", id_), ("train", "care"), ("register", "care@1")]
    (entry,) = await audit.about(store, "care", "train")
    assert entry.detail["dataset"] == id_
    assert entry.detail["by"]


async def test_the_hold_out_is_not_trained_on(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    outcome = await run(settings, good, tmp_path, worker=trainer)
    learned = (outcome.dataset.folder / "train.jsonl").read_text()
    assert trainer.jobs[0].train_file == str(outcome.dataset.folder / "train.jsonl")
    assert len(outcome.dataset.rolling) == 5
    for example in outcome.dataset.holdout:
        assert f'"{example.interaction_id}"' not in learned


async def test_a_chosen_dataset_is_learned_from_as_it_is(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    first = await run(settings, good, tmp_path)
    await feedback.add(store, said("i3", 9000.0, edit="newer"))
    trainer = StandIn()
    second = await run(settings, good, tmp_path, worker=trainer, dataset_id=first.dataset.id[:9])
    assert second.dataset == first.dataset
    assert trainer.jobs[0].dataset_id == first.dataset.id
    with pytest.raises(NotFound, match="there is no dataset 'nope'"):
        await run(settings, good, tmp_path, worker=trainer, dataset_id="nope")


async def test_a_dataset_that_cannot_be_judged_is_refused(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    rules = recipe(golden_conversations=1).curation
    rules = rules.model_copy(update={"golden_share": 0.2, "min_holdout": 2})
    built = await repository.build(store, "care", rules, tmp_path / "runs")
    golden = built.manifest["splits"]["golden"]
    with pytest.raises(DatasetError, match="has 0 examples to learn from and"):
        await run(settings, good, tmp_path, dataset_id=golden)


async def test_promotion_is_asked_for_once_and_only_on_request(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    outcome = await run(settings, good, tmp_path, promote=True)
    assert good.promoted == ["care@1"]
    assert outcome.rollout is not None
    assert outcome.rollout["object"] == "rollout"


async def test_a_rejected_candidate_changes_nothing_that_serves(
    settings: Settings, store: Database, bad: Stub, tmp_path: Path
) -> None:
    registry = Registry(store, settings.adapters.uri)
    before = await registry.routes()
    outcome = await run(settings, bad, tmp_path, promote=True)
    version = await registry.get("care@1")
    assert not outcome.decision.accepted
    assert version is not None
    assert version.state is State.REJECTED
    assert version.decision["reasons"][1]["passed"] is False
    assert bad.promoted == []
    assert await registry.routes() == before


async def test_the_candidate_is_compared_with_what_is_live(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    registry = Registry(store, settings.adapters.uri)
    await run(settings, good, tmp_path)
    await registry.switch("care", live="care@1", action="promote")
    outcome = await run(settings, good, tmp_path)
    second = await registry.get("care@2")
    assert second is not None
    assert (second.parent, outcome.decision.against) == ("care@1", "care@1")
    assert not outcome.decision.accepted  # as good as live is not better
    assert set(good.models) == {"base", "care@1", "care@2"}


async def test_a_warm_start_goes_on_from_what_is_live_verified_and_of_the_same_shape(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    registry = Registry(store, settings.adapters.uri)
    trainer = StandIn()
    warm = changed(start="live", lora={"rank": 4, "alpha": 8})
    await run(settings, good, tmp_path, worker=trainer, chosen=warm)  # nothing is live yet
    assert (trainer.jobs[0].start, trainer.jobs[0].start_version) == (None, None)
    await registry.switch("care", live="care@1", action="promote")
    await run(settings, good, tmp_path, worker=trainer, chosen=warm)
    first, second = await registry.get("care@1"), await registry.get("care@2")
    assert first is not None
    assert second is not None
    assert (trainer.jobs[1].start, trainer.jobs[1].start_version) == (first.uri, "care@1")
    assert second.parent == "care@1"
    other = changed(start="live", lora={"rank": 2, "alpha": 32, "variant": "rslora"})
    with pytest.raises(RecipeError, match=r"lora\.rank is 2, its own 4; lora\.alpha is 32\.0"):
        await run(settings, good, tmp_path, worker=trainer, chosen=other)
    (Path(first.uri) / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterRefused, match="was changed"):
        await run(settings, good, tmp_path, worker=trainer, chosen=warm)
    assert len(trainer.jobs) == 2


async def test_too_few_pairs_are_refused_before_training(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    with pytest.raises(TooLittleData, match=r"care: \d+ preference pairs, and dpo"):
        await run(settings, good, tmp_path, worker=trainer, chosen=changed(method="dpo"))
    assert trainer.jobs == []
    enough = changed(method="dpo", dpo={"min_pairs": 5})
    outcome = await run(settings, good, tmp_path, worker=trainer, chosen=enough)
    pairs = outcome.dataset.folder / "preference.jsonl"
    assert trainer.jobs[0].preference_file == str(pairs)
    assert trainer.jobs[0].kto_file == str(outcome.dataset.folder / "kto.jsonl")
    assert len(pairs.read_text().splitlines()) >= 5


async def test_training_is_given_the_server_s_chat_template_and_its_variables(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    file, kwargs = tmp_path / "chat.jinja", {"enable_thinking": False}
    file.write_text("{{ messages }}")
    engine = {"chat_template": str(file), "default_chat_template_kwargs": kwargs}
    trainer = StandIn()
    for one in (settings, settings.model_copy(update={"engine": engine})):
        await run(one, good, tmp_path, worker=trainer)
    own, given = trainer.jobs
    assert (own.chat_template, own.chat_template_kwargs) == (None, {})
    assert (given.chat_template, given.chat_template_kwargs) == ("{{ messages }}", kwargs)
    assert own.out != given.out, "what was begun by another template is not gone on from"


async def test_a_refused_promotion_leaves_a_candidate_and_says_how_to_go_on(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    good.promote_status = 502
    with pytest.raises(EvaluationFailed, match=r"out of memory.*switchboard adapters promote"):
        await run(settings, good, tmp_path, promote=True)
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert version.state is State.CANDIDATE


async def test_a_failed_fine_tuning_registers_nothing(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    with pytest.raises(FineTuneFailed, match="no memory"):
        await run(settings, good, tmp_path, worker=StandIn(FineTuneFailed("no memory")))
    assert await Registry(store, settings.adapters.uri).list() == []
    assert good.models == []


class Erasing(StandIn):
    """A trainer beside which the first conversation that it learns from is erased."""

    def __init__(self, db: Database, folder: Path) -> None:
        super().__init__()
        self.db, self.folder = db, folder

    async def train(self, job: Job) -> Result:
        await erase_first(self.db, self.folder)
        return await super().train(job)


async def erase_first(db: Database, folder: Path) -> None:
    found = await interactions.get(db, "i0")
    assert found is not None
    what = erasing.target("conversation", found.conversation_id or "", "care", None)
    done, _ = await erasing.erase(
        db,
        what,
        reason="asked",
        key_id=None,
        journal_dir=folder,
        keyring=None,
        storage=FileStorage(str(folder.with_name("uploads"))),
    )
    assert done.counts["datasets"] == 1


async def test_a_training_across_an_erasure_registers_nothing(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="erased while the run went on"):
        await run(settings, good, tmp_path, worker=Erasing(store, tmp_path / "journal"))
    assert await Registry(store, settings.adapters.uri).list() == []
    assert list((tmp_path / "runs").rglob("report.*")) == []


@pytest.mark.parametrize("when", ["before", "while"])
async def test_an_evaluation_across_an_erasure_writes_no_report_and_promotes_nothing(
    settings: Settings,
    store: Database,
    good: Stub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    decided, written = gate.decide, report.write
    loop, journal = asyncio.get_running_loop(), tmp_path / "journal"

    def erase() -> None:  # by another machine, so in a loop of its own
        asyncio.run(elsewhere())

    async def elsewhere() -> None:
        db = Database(settings.store.url)
        await db.open()
        await erase_first(db, journal)
        await db.close()

    def in_thread() -> None:
        assert loop.is_running()
        thread = threading.Thread(target=erase)
        thread.start()
        thread.join()

    def decide(*args: Any, **more: Any) -> Any:
        in_thread()
        return decided(*args, **more)

    def write(outcome: Any) -> None:
        in_thread()
        written(outcome)

    if when == "before":
        monkeypatch.setattr(gate, "decide", decide)
    else:
        monkeypatch.setattr(report, "write", write)
    with pytest.raises(DatasetError, match="erased while the run went on"):
        await run(settings, good, tmp_path, promote=when == "before")
    assert list((tmp_path / "runs").rglob("report.*")) == []
    assert good.promoted == []


async def test_what_would_fail_late_is_refused_before_any_work(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    with pytest.raises(RecipeError, match=r"lora.rank: 17 exceeds the server's adapters.max_rank"):
        await run(
            settings,
            good,
            tmp_path,
            worker=trainer,
            chosen=Recipe.model_validate({"lora": {"rank": 17}}),
        )
    with pytest.raises(TooLittleData, match="care: 20 usable examples"):
        await run(settings, good, tmp_path, worker=trainer, chosen=recipe(min_examples=50))
    with pytest.raises(EvaluationFailed, match="no server is ready"):
        await run(settings, Stub(lambda *_: "", url="http://127.0.0.1:9"), tmp_path, worker=trainer)
    with pytest.raises(NotFound, match="there are: care, sales"):
        await pipeline.run(
            "cars", config=tmp_path, settings=settings, recipe=recipe(), worker=trainer
        )
    assert trainer.jobs == []


async def test_one_training_at_a_time_on_the_same_data(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    class Slow(StandIn):
        async def train(self, job: Job) -> Result:
            with pytest.raises(Conflict, match="by another process"):
                await run(settings, good, tmp_path)
            return await super().train(job)

    assert (await run(settings, good, tmp_path, worker=Slow())).version == "care@1"


async def test_reports_show_the_decision_and_samples_side_by_side(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    outcome = await run(settings, good, tmp_path)
    files = {path.name: path for path in outcome.folder.iterdir()}
    assert set(files) == {"report.md", "report.html", "report.json", "metrics.png", "loss.png"}
    markdown, page = (files[name].read_text() for name in ("report.md", "report.html"))
    for text in (markdown, page):
        assert "care@1" in text
        assert "accepted" in text
        assert outcome.decision.reasons[0].text.replace("'", "&#39;") in text.replace("'", "&#39;")
        assert "final text of conversation i19" in text
        assert "min_conversations: 8" in text
    assert "| Edit similarity | higher |" in markdown
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 2
    assert not re.search(r'(src|href)="http', page)
    columns = r'class="texts">\s*<div>Shown .*?<mark>.*?final text<p>.*?<ins>.*?<div>care@1 '
    assert re.search(columns, page, re.DOTALL)
    content = json.loads(files["report.json"].read_text())
    assert content["accepted"] is True
    assert content["edit_similarity"] == 1.0
    for name in ("metrics.png", "loss.png"):
        assert files[name].read_bytes().startswith(b"\x89PNG")


async def test_a_judge_that_nobody_should_trust_decides_nothing_and_the_report_says_so(
    settings: Settings, store: Database, tmp_path: Path
) -> None:
    def answer(model: str, prompt: str) -> str:
        if "text B" in prompt:  # the judge's question: it looks at the position only
            return "A"
        return "something else entirely" if model == "base" else wanted(prompt)

    rules = JudgeConfig(enabled=True, win_rate_above=0.5)
    with serving(Stub(answer)) as stub:
        outcome = await run(
            settings, stub, tmp_path, chosen=recipe().model_copy(update={"judge": rules})
        )
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert version.state is State.REJECTED
    assert version.metrics["judge"]["comparison"]["position_bias"]["mean"] == 1.0
    *others, last = outcome.decision.reasons
    assert all(reason.passed for reason in others)
    assert "may not decide" in last.text
    for name in ("report.md", "report.html"):
        text = (outcome.folder / name).read_text()
        assert "Do not trust this judge" in text
        assert "Verdict flips with the order, of pairs" in text
    content = json.loads((outcome.folder / "report.json").read_text())
    assert content["judge"]["agreement"]["trusted"] is False


async def test_hostile_text_stays_text_in_the_reports(
    settings: Settings, store: Database, tmp_path: Path
) -> None:
    nasty = "```\n# Heading\n<script>alert(1)</script>"
    with serving(Stub(lambda *_: nasty)) as stub:
        outcome = await run(settings, stub, tmp_path)
    assert "<script>" not in (outcome.folder / "report.html").read_text()
    assert f"````text\n{nasty}\n````" in (outcome.folder / "report.md").read_text()


async def test_an_evaluation_that_failed_is_repeated_without_training_again(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    good.answer_status = 403
    with pytest.raises(EvaluationFailed):
        await run(settings, good, tmp_path, worker=trainer)
    good.answer_status = 200
    outcome = await run(settings, good, tmp_path, worker=trainer)
    assert len(trainer.jobs) == 1
    assert (outcome.version, outcome.decision.accepted) == ("care@1", True)
    versions = await Registry(store, settings.adapters.uri).list("care")
    assert [version.name for version in versions] == ["care@1"]
    assert outcome.training.steps == 8
    assert list((tmp_path / "runs" / "work").glob("care-*/")) == []
    await run(settings, good, tmp_path, worker=trainer)
    assert len(trainer.jobs) == 2


async def test_an_adapter_that_was_lost_meanwhile_is_trained_again(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = StandIn()
    good.answer_status = 403
    with pytest.raises(EvaluationFailed):
        await run(settings, good, tmp_path, worker=trainer)
    good.answer_status = 200
    shutil.rmtree(trainer.jobs[0].out + "/adapter")
    assert (await run(settings, good, tmp_path, worker=trainer)).decision.accepted
    assert len(trainer.jobs) == 2


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["checkpoint", "answer"])
async def test_a_run_killed_at_any_moment_leaves_no_half_registered_version(
    settings: Settings,
    store: Database,
    good: Stub,
    tiny_recipe: Recipe,
    tmp_path: Path,
    moment: str,
) -> None:
    """Kill the real command's process, with the real trainer, in the middle."""
    sft = tiny_recipe.sft.model_copy(
        update={"checkpoint_steps": 2, "epochs": 400 if moment == "checkpoint" else 2}
    )
    chosen = recipe().model_copy(update={"sft": sft})
    content = [
        settings.model_dump_json(),
        chosen.model_dump_json(),
        good.url,
        str(tmp_path / "runs"),
    ]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, *content, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    registry = Registry(store, settings.adapters.uri)

    def reached() -> bool:
        assert parent.returncode is None
        if moment == "answer":
            return "care@1" in good.models
        return any((tmp_path / "runs").glob("work/*/checkpoints/checkpoint-*/trainer_state.json"))

    await until_async(reached, "that moment has not come", every_s=0.01)
    parent.kill()
    await parent.wait()
    versions = await registry.list()
    if moment == "checkpoint":
        assert versions == []
        assert published(f"{settings.adapters.uri}/care") == []
    else:
        assert [(v.name, v.state) for v in versions] == [("care@1", State.CANDIDATE)]
    assert await registry.routes() == {}
    again = await run(settings, good, tmp_path)
    assert again.version == ("care@1" if moment == "checkpoint" else "care@2")


RUN = """
import asyncio, sys
from pathlib import Path
from serving.config.settings import Settings
from training import pipeline
from training.recipe.recipe import Recipe

settings, recipe, url, out = sys.argv[1:]
asyncio.run(
    pipeline.run(
        "care",
        config=Path("none"),
        settings=Settings.model_validate_json(settings),
        recipe=Recipe.model_validate_json(recipe),
        url=url,
        api_key="sb-trainer",
        out=Path(out),
    )
)
"""


async def test_no_step_of_curation_needs_the_clock(settings: Settings, store: Database) -> None:
    rows = await interactions.labelled(store, lob="care")
    assert curate("care", rows, recipe().curation) == curate("care", rows, recipe().curation)


class SearchStandIn(StandIn):
    """A trainer to which a lower learning rate is better."""

    async def train(self, job: Job) -> Result:
        Path(job.out).mkdir(parents=True)  # noqa: ASYNC240
        result = await super().train(job)
        return replace(result, validation_loss=job.recipe["sft"]["learning_rate"])


async def test_a_search_registers_the_best_trial_by_its_own_recipe(
    settings: Settings, store: Database, good: Stub, tmp_path: Path
) -> None:
    trainer = SearchStandIn()
    outcome = await pipeline.run(
        "care",
        config=tmp_path / "config.yaml",
        settings=settings,
        recipe=recipe(),
        out=tmp_path / "runs",
        url=good.url,
        worker=trainer,
        trials=4,
    )
    rates = [job.recipe["sft"]["learning_rate"] for job in trainer.jobs]
    version = await Registry(store, settings.adapters.uri).get("care@1")
    assert version is not None
    assert len(set(rates)) == 4
    assert version.recipe["sft"]["learning_rate"] == min(rates)
    assert outcome.recipe.sft.learning_rate == min(rates)
    report = json.loads((outcome.folder / "report.json").read_text())
    assert [trial["loss"] for trial in report["search"]] == rates
    assert (outcome.folder / "search.png").exists()
    for name in ("report.md", "report.html"):
        assert "never on the hold-out" in (outcome.folder / name).read_text()
    assert set(good.models) == {"base", "care@1"}
    with pytest.raises(RecipeError, match=r"search\.rank"):
        await pipeline.run(
            "care",
            config=tmp_path / "config.yaml",
            settings=settings,
            recipe=Recipe.model_validate({"search": {"rank": [512]}}),
            trials=2,
        )
