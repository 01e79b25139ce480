"""From a job's files to its dataset."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from serving.config.settings import Settings
from serving.files.storage import FileStorage
from serving.store import datasets
from serving.store.database import Database
from tests.training.jobs.conftest import MakeJob, chats, labels, pairs
from training.data import dataset
from training.jobs import hyperparameters, material
from training.recipe.recipe import Recipe


@pytest.fixture
def storage(job_settings: Settings) -> FileStorage:
    return FileStorage(job_settings.files.uri)


async def test_a_file_becomes_a_dataset_that_names_it(
    store: Database, storage: FileStorage, make_job: MakeJob, line_recipe: Recipe, tmp_path: Path
) -> None:
    job = await make_job(chats(12), chats(3, begin=50))
    read = await material.read(storage, job, line_recipe)
    built = await material.build(store, job, read, line_recipe, tmp_path / "datasets")
    assert (len(built.train), len(built.rolling)) == (12, 3)
    content = "".join(json.dumps(row) + "\n" for row in chats(12)).encode()
    source = built.manifest["sources"]["training_file"]
    assert source == {"id": job.training_file, "sha256": hashlib.sha256(content).hexdigest()}
    assert built.manifest["sources"]["validation_file"]["id"] == job.validation_file
    stored = await datasets.get(store, built.id)
    assert stored is not None
    assert stored.manifest["kind"] == "fine-tune"
    assert dataset.read(built.folder) == built
    again = await material.build(store, job, read, line_recipe, tmp_path / "datasets")
    assert again.id == built.id
    rows = material.validation_rows(job, built, tmp_path / "own")
    assert rows is not None
    learned = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["completion"][0]["content"] for row in learned] == [
        f"it is on truck {n}" for n in (50, 51, 52)
    ]


async def test_personal_values_are_replaced_unless_the_recipe_says_otherwise(
    store: Database, storage: FileStorage, make_job: MakeJob, line_recipe: Recipe, tmp_path: Path
) -> None:
    rows = chats(10)
    rows[0]["messages"][0]["content"] = "write to ann.lee@example.com"
    job = await make_job(rows)
    plain = line_recipe.model_copy(
        update={"curation": line_recipe.curation.model_copy(update={"redact": False})}
    )
    texts = {}
    for name, recipe in (("redacted", line_recipe), ("plain", plain)):
        read = await material.read(storage, job, recipe)
        built = await material.build(store, job, read, recipe, tmp_path / name)
        texts[name] = (built.folder / dataset.TRAIN).read_text()
    assert "ann.lee@example.com" not in texts["redacted"]
    assert "ann.lee@example.com" in texts["plain"]


async def test_pairs_and_labels_are_rows_of_their_methods(
    store: Database, storage: FileStorage, make_job: MakeJob, line_recipe: Recipe, tmp_path: Path
) -> None:
    for kind, rows, file in (
        ("dpo", pairs(12), dataset.PREFERENCE),
        ("kto", labels(12), dataset.KTO),
    ):
        job = await make_job([*rows, rows[0]], rows[:2], kind=kind)
        recipe = hyperparameters.recipe_of(line_recipe, job, "base")
        read = await material.read(storage, job, recipe)
        assert read.unused == 1
        built = await material.build(store, job, read, recipe, tmp_path / kind)
        assert len((built.folder / file).read_text().splitlines()) == 12
        watched = material.validation_rows(job, built, tmp_path / "own" / kind)
        assert watched is not None
        keys = json.loads(watched.read_text().splitlines()[0]).keys()
        assert keys >= ({"chosen", "rejected"} if kind == "dpo" else {"completion", "label"})


@pytest.mark.parametrize(
    ("rows", "validation", "fields", "param", "what"),
    [
        (chats(9), None, {}, "training_file", "has 9 example\\(s\\), but must have at least 10"),
        ([*chats(10), {"x": 1}], None, {}, "training_file", "line 11: is not a chat"),
        (chats(10), [{"x": 1}], {}, "validation_file", "line 1: is not a chat"),
        (pairs(12), None, {}, "training_file", "line 1: is not a chat"),
        (
            [row | {"label": True} for row in chats(12)],
            None,
            {"kind": "kto"},
            "training_file",
            "12 good and 0 bad answers",
        ),
    ],
)
async def test_a_file_that_cannot_be_learned_from_is_named_with_its_lines(
    storage: FileStorage,
    make_job: MakeJob,
    line_recipe: Recipe,
    rows: Any,
    validation: Any,
    fields: dict[str, Any],
    param: str,
    what: str,
) -> None:
    job = await make_job(rows, validation, **fields)
    with pytest.raises(material.FileFault, match=what) as found:
        await material.read(storage, job, line_recipe)
    assert found.value.param == param


async def test_a_file_whose_bytes_are_gone_is_named(
    storage: FileStorage, make_job: MakeJob, line_recipe: Recipe
) -> None:
    job = await make_job(chats(10))
    await storage.delete(job.training_file)
    with pytest.raises(material.FileFault, match="are gone") as found:
        await material.read(storage, job, line_recipe)
    assert found.value.param == "training_file"
