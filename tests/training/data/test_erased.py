"""Datasets, reports and versions after an erasure, over real stores."""

from pathlib import Path
from typing import Any

import pytest

from serving.erasure import files, run
from serving.errors import Conflict
from serving.files.storage import FileStorage
from serving.store import adapter_versions, datasets, interactions
from serving.store.database import Database
from serving.store.erasure import datasets as erased_datasets
from serving.store.erasure import erasures
from tests.training.data.test_repository import add, build
from training.cli import retrain
from training.data import coverage, dataset, repository, selection
from training.data.dataset import Dataset
from training.errors import DatasetError
from training.recipe.recipe import Recipe


async def erase(db: Database, folder: Path, conversation: str) -> erasures.Erasure:
    done, waiting = await run.erase(
        db,
        run.target("conversation", conversation, "care", None),
        reason="asked",
        key_id=None,
        journal_dir=folder / "journal",
        keyring=None,
        storage=FileStorage(str(folder / "files")),
    )
    assert waiting == []
    return done


def holding(folder: Path, text: str) -> list[str]:
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite" and text.encode() in path.read_bytes()
    ]


async def talk_of(db: Database, id_: str) -> str:
    found = await interactions.get(db, id_)
    assert found is not None
    assert found.conversation_id is not None
    return found.conversation_id


def learned(built: Dataset) -> list[str]:
    return [example.interaction_id for example in built.train]


async def test_a_dataset_goes_on_without_the_erased_rows_and_verifies(
    db: Database, tmp_path: Path
) -> None:
    await add(db, 100, 40)
    root = tmp_path / "runs" / "datasets"
    first = await build(db, root)
    before = learned(first)
    gone, judged = before[0], first.golden[0].interaction_id
    report = tmp_path / "runs" / "care@1" / "report.html"
    report.parent.mkdir()
    report.write_text(f"<h3>{gone}</h3>")
    kept = report.with_name("report.md")
    kept.write_text("figures")
    for id_ in (gone, judged):
        assert holding(tmp_path / "runs", f'"{id_}"')
        done = await erase(db, tmp_path, await talk_of(db, id_))
        assert done.counts["datasets"] > 0
        assert not holding(tmp_path / "runs", f'"{id_}"')
    assert done.counts["dataset_interactions"] > 0
    assert gone not in report.read_text()
    assert kept.read_text() == "figures"
    assert not first.folder.exists()
    found = await repository.find(db, first.id)
    assert found.id != first.id
    assert found == dataset.read(found.folder)
    assert dataset.identify(found.manifest) == found.id
    assert found.manifest["erased"]["interactions"] == 2
    expected = [id_ for id_ in before if id_ != gone]
    assert learned(found) == expected
    assert judged not in {e.interaction_id for e in found.golden}
    with pytest.raises(DatasetError, match="were erased from this dataset"):
        await repository.rebuild(db, found.manifest, tmp_path / "again")
    newer = await build(db, root)
    assert gone not in learned(newer)
    frozen = await repository.find(db, first.manifest["splits"]["golden"])
    assert newer.manifest["splits"]["golden"] == frozen.id, "without the rows, yet still frozen"


async def test_a_kill_between_rows_and_files_leaves_nothing_behind(
    sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(sqlite_db, 100, 40)
    first = await build(sqlite_db, tmp_path / "runs" / "datasets")
    gone = learned(first)[0]
    talk = await talk_of(sqlite_db, gone)

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            await erase(sqlite_db, tmp_path, talk)
    assert first.folder.is_dir()
    assert (await erase(sqlite_db, tmp_path, talk)).state == "done"
    assert not first.folder.exists()
    assert not holding(tmp_path / "runs", f'"{gone}"')


async def test_a_dataset_that_was_being_built_during_an_erasure_is_not_kept(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(db, 100, 40)
    known = coverage.of

    async def meanwhile(*args: Any) -> Any:
        await erase(db, tmp_path, "somebody")
        return await known(*args)

    monkeypatch.setattr(coverage, "of", meanwhile)
    with pytest.raises(Conflict, match="build it again"):
        await build(db, tmp_path / "runs" / "datasets", golden_share=0.0)
    left = [r for r in await datasets.list_all(db) if r.manifest["kind"] == "feedback"]
    assert left == []
    assert [p for p in (tmp_path / "runs" / "datasets").iterdir() if p.is_dir()] == []


def test_taints_follow_datasets_and_weights() -> None:
    erased = {
        "d1": {"rows": 2, "successor": "d2"},
        "d2": {"rows": 1, "successor": "d3"},
    }
    versions = [
        ("care@1", "d1", None, {}),
        ("care@2", "d2", "care@1", {"start": "fresh"}),
        ("care@3", "d3", "care@1", {"start": "live"}),
        ("care@4", "d3", "care@1", {"start": "fresh"}),
        ("care@5", None, None, {}),
    ]
    assert erased_datasets.taints(erased, versions) == {"care@1": 3, "care@2": 1, "care@3": 3}


async def test_a_successor_is_trained_from_the_base_on_what_is_left(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 100, 40)
    first = await build(sqlite_db, tmp_path / "runs" / "datasets")
    number = await adapter_versions.reserve(sqlite_db, "care")
    recipe = Recipe.model_validate({"start": "live"})
    await adapter_versions.add(
        sqlite_db,
        None,
        lob="care",
        number=number,
        name="care@1",
        parent=None,
        base_model="m",
        base_hash="h",
        dataset_id=first.id,
        recipe=recipe.model_dump(mode="json"),
        metrics={},
        decision={},
        uri="u",
        manifest_hash="h",
        rank=8,
    )
    url = f"sqlite:///{sqlite_db.url.database}"
    with pytest.raises(Exception, match="nothing that care@1 learned from was erased"):
        await retrain._tainted(url, "care@1")
    gone = learned(first)[0]
    await erase(sqlite_db, tmp_path, await talk_of(sqlite_db, gone))
    found = await retrain._tainted(url, "care@1")
    assert retrain.successor_recipe(found, None) == recipe.model_copy(update={"start": "fresh"})
    assert found.dataset_id == first.id, "the version's lineage stays what it was"
    assert gone not in learned(await selection.find(sqlite_db, "care", first.id))
