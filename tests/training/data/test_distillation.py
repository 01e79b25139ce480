from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.adapters import artifacts
from serving.config.settings import Settings
from serving.store import adapter_versions as versions
from serving.store import datasets, feedback, interactions
from serving.store.database import Database
from serving.store.records import LabelledInteraction
from tests.training.records import GATE_OF_FIVE, drawn, labelled
from tests.training.stand_in import StandIn
from tests.training.stub_server import Stub, serving
from training import pipeline
from training.data import dataset, distillation, repository
from training.data.curation import curate
from training.data.dataset import Dataset
from training.data.examples import Example, Verdict
from training.data.streaming.sources import sources
from training.errors import DatasetError, RecipeError, TooLittleData
from training.recipe.curation import CurationConfig
from training.recipe.distillation import StudentConfig
from training.recipe.recipe import Recipe

RULES = CurationConfig(min_examples=4, min_conversations=6, golden_share=0, agent_share=1)
STUDENT = StudentConfig(store="sqlite:///teacher.sqlite")
SHOWN = "We will send it to you by Friday."


@pytest.mark.parametrize(
    ("said", "source"),
    [
        (Verdict(used=True), "rating"),
        (Verdict(rating=0.8), "rating"),
        (Verdict(rating=0.79, used=True), None),
        (Verdict(rejected=True), None),
        (Verdict(rating=1.0, rejected=True), None),
        (Verdict(edit="We will send it to you by Friday!"), "edit"),
        (Verdict(edit="No, that is not so.", rating=1.0), None),
        (Verdict(), None),
    ],
)
def test_what_is_good_enough_to_teach(said: Verdict, source: str | None) -> None:
    assert distillation.well_rated(SHOWN, said, RULES, STUDENT) == source


def test_used_outputs_can_be_left_out_and_empty_ones_never_teach() -> None:
    strict = StudentConfig(store="s", used=False)
    assert distillation.well_rated(SHOWN, Verdict(used=True), RULES, strict) is None
    assert distillation.well_rated(" ", Verdict(used=True), RULES, STUDENT) is None


def row(number: int, *said: dict[str, Any], **fields: Any) -> LabelledInteraction:
    return labelled(
        f"i{number}",
        *said,
        prompt=f"question {number} on subject {number * 7}",
        output=f"Answer {number}: the thing {number * 7} is on its way to you.",
        created_at=float(number),
        conversation_id=drawn(15 <= number < 20, number),
        **fields,
    )


def held_of(rows: list[LabelledInteraction], tmp_path: Path) -> Dataset:
    """Return the teacher's own dataset: it learns from i0 to i14 and holds out i15 to i19."""
    curated = curate("care", rows, RULES)
    built = dataset.write("care", curated, RULES, tmp_path, sources=sources(rows))
    assert learned(built.holdout) == [f"i{n}" for n in range(15, 20)]
    return built


def teacher_rows() -> list[LabelledInteraction]:
    return [row(n, {"rating": 1.0}, version="care@7") for n in range(20)]


def learned(examples: tuple[Example, ...]) -> list[str]:
    return [one.interaction_id for one in examples]


def test_nothing_that_judges_is_learned_and_the_teacher_s_hold_out_judges(tmp_path: Path) -> None:
    rows = teacher_rows()
    held = held_of(rows, tmp_path)
    newer = labelled("new", {"used": True}, version="care@7", conversation_id=drawn(True, 30))
    found = distillation.curate("care", [*rows, newer], RULES, STUDENT, held)
    assert learned(found.train) == [f"i{n}" for n in range(15)]
    assert found.rolling == held.holdout
    assert [(c.name, c.kept, c.dropped) for c in found.filters][:2] == [
        ("by the teacher", 21, 0),
        ("in no conversation that judges", 15, 6),
    ]


def test_a_suspected_injection_teaches_no_student(tmp_path: Path) -> None:
    rows = teacher_rows()
    held = held_of(rows, tmp_path)
    rows[3] = row(3, {"rating": 1.0}, version="care@7", guards=[{"kind": "injection"}])
    found = distillation.curate("care", rows, RULES, STUDENT, held)
    assert "i3" not in learned(found.train)
    assert [c.dropped for c in found.filters if c.name == "no suspected injection"] == [1]


@pytest.mark.parametrize(("teacher", "learns"), [(None, False), ("care@7", True)])
def test_another_model_teaches_only_as_the_teacher_that_was_named(
    tmp_path: Path, teacher: str | None, learns: bool
) -> None:
    rows = teacher_rows()
    held = held_of(rows, tmp_path)
    via = [{"step": "care@7", "outcome": "answered", "via": "upstream:big"}]
    rows[3] = row(3, {"rating": 1.0}, version="care@7", steps=via)
    student = STUDENT.model_copy(update={"teacher": teacher})
    found = distillation.curate("care", rows, RULES, student, held)
    assert ("i3" in learned(found.train)) is learns


def test_only_the_teacher_teaches_and_by_what_agents_kept(tmp_path: Path) -> None:
    rows = teacher_rows()
    held = held_of(rows, tmp_path)
    rows[3] = row(3, {"rating": 1.0}, version="care@6")
    rows[4] = row(4, {"rejected": True}, version="care@7")
    rows[5] = row(5, {"used": True}, version="care@7")
    rows[6] = row(6, {"edit": "Answer 6: the thing 42 is on its way to us."}, version="care@7")
    rows[7] = row(7, {"edit": "Something else."}, version="care@7")
    rows[8] = row(8, {"used": True}, version="care@7", finish_reason="length")
    chosen = StudentConfig(store="s", teacher="care@7")
    found = distillation.curate("care", rows, RULES, chosen, held)
    targets = {one.interaction_id: one.target for one in found.train}
    assert targets.keys() == {"i0", "i1", "i2", "i5", "i6", *(f"i{n}" for n in range(9, 15))}
    assert targets["i5"] == rows[5].interaction.output
    assert targets["i6"] == "Answer 6: the thing 42 is on its way to us."


def test_too_few_good_outputs_are_said(tmp_path: Path) -> None:
    rows = teacher_rows()
    chosen = StudentConfig(store="s", teacher="care@8")
    with pytest.raises(TooLittleData, match="0 well-rated outputs of care@8"):
        distillation.curate("care", rows, RULES, chosen, held_of(rows, tmp_path))


@pytest.fixture
async def teacher(tmp_path: Path) -> AsyncIterator[Database]:
    db = Database(f"sqlite:///{tmp_path / 'teacher.sqlite'}")
    await db.open()
    rows = teacher_rows()
    await interactions.save(db, [one.interaction for one in rows])
    for one in rows:
        await feedback.add(db, one.feedback[0])
    yield db
    await db.close()


@pytest.fixture
def server() -> Iterator[Stub]:
    """A student's server: its base knows nothing, its adapter all."""

    def answer(model: str, prompt: str) -> str:
        number = prompt.split()[1]
        return f"Answer {number}: the thing {int(number) * 7} is on its way to you."

    with serving(Stub(lambda m, p: "zzz" if m == "small" else answer(m, p))) as stub:
        yield stub


async def test_a_student_is_trained_on_its_own_base_and_judged_on_the_teacher_s_hold_out(
    teacher: Database,
    server: Stub,
    settings: Settings,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("TEACHER", f"sqlite:///{tmp_path / 'teacher.sqlite'}")
    recipe = Recipe.model_validate(
        {
            "curation": RULES.model_dump(),
            "gate": GATE_OF_FIVE,
            "lora": {"rank": 4},
            "sft": {"device": "cpu"},
            "student": {"store": "${TEACHER}", "teacher": "care@7"},
        }
    )
    settings = settings.model_copy(update={"served_name": "small"})
    held = await repository.build(teacher, "care", RULES, tmp_path / "teacher")
    worker = StandIn()
    outcome = await pipeline.run(
        "care",
        config=tmp_path / "config.yaml",
        settings=settings,
        recipe=recipe,
        out=tmp_path / "runs",
        url=server.url,
        worker=worker,
    )
    assert outcome.decision.accepted
    assert outcome.dataset.manifest["kind"] == "student"
    assert outcome.dataset.manifest["sources"]["held_out_of"] == held.id
    assert "store" not in outcome.dataset.manifest["sources"]
    assert outcome.dataset.holdout == held.holdout
    assert (worker.jobs[0].base_model, worker.jobs[0].base_hash) == (
        str(tiny_base),
        artifacts.model_hash(tiny_base),
    )
    db = Database(settings.store.url)
    await db.open()
    version = await versions.get(db, outcome.version)
    noted = [one.id for one in await datasets.list_all(db)]
    await db.close()
    assert version is not None
    assert version.base_hash == artifacts.model_hash(tiny_base)
    assert noted == [outcome.dataset.id]
    assert await versions.list_all(teacher) == []
    with pytest.raises(DatasetError, match="from its teacher's store"):
        await repository.rebuild(teacher, outcome.dataset.manifest, tmp_path / "again")


async def test_without_a_hold_out_or_a_store_it_says_what_to_do(
    teacher: Database, sqlite_db: Database, tmp_path: Path
) -> None:
    chosen = StudentConfig(store=f"sqlite:///{tmp_path / 'teacher.sqlite'}")
    with pytest.raises(DatasetError, match="switchboard dataset build care"):
        await distillation.build(sqlite_db, "care", RULES, chosen, tmp_path)
    with pytest.raises(RecipeError, match="NOWHERE is not set"):
        await distillation.build(
            sqlite_db, "care", RULES, StudentConfig(store="${NOWHERE}"), tmp_path
        )
