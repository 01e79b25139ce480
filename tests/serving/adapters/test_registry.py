import asyncio
import multiprocessing
import os
import time
import uuid
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import delete

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.errors import AdapterRefused, Conflict, InvalidRequest, NotFound
from serving.store import audit, datasets
from serving.store.database import Database
from serving.store.records import DatasetRecord, Route
from serving.store.tables import AdapterVersionRow


@pytest.fixture
def registry(db: Database, tmp_path: Path) -> Registry:
    return Registry(db, tmp_path / "root")


@pytest.fixture
def register(registry: Registry, adapter):
    """Return a function that reserves and registers the next version of a line of business."""

    async def run(lob: str = "care", **fields):
        values = {
            "parent": None,
            "base_model": "base",
            "base_hash": "base-hash",
            "dataset_id": None,
            "recipe": {"lr": 1e-4},
            "metrics": {"edit_similarity": 0.8},
            "rank": 4,
        }
        number = await registry.reserve(lob)
        return await registry.register(lob, number, adapter(), **(values | fields))

    return run


async def test_a_registered_version_comes_back_with_its_lineage(
    db: Database, registry: Registry, register, tmp_path: Path
) -> None:
    await datasets.save(db, DatasetRecord(id="d", lob="care", uri="u", manifest={}))
    first = await register(dataset_id="d", key_id="key_1")
    second = await register(parent="care@1")
    assert (first.name, first.state, first.dataset_id) == ("care@1", "candidate", "d")
    assert (second.name, second.parent) == ("care@2", "care@1")
    assert second.id > first.id > 0
    assert await registry.get("care@1") == first
    assert await registry.get("care@9") is None
    assert await registry.list() == await registry.list("care") == [first, second]
    assert await registry.list("sales") == []
    path = artifacts.fetch(first.uri, tmp_path / "cache", first.manifest_hash)
    assert artifacts.check_adapter(path, base_hash=first.base_hash, max_rank=first.rank) == 4
    (_, entry, built) = await audit.tail(db)
    assert (entry.action, entry.target, entry.key_id) == ("register", "care@1", "key_1")
    assert (built.action, built.target) == ("build_dataset", "d")


async def test_numbers_reserved_at_once_are_distinct(registry: Registry) -> None:
    numbers = await asyncio.gather(*(registry.reserve("care") for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))
    assert await registry.reserve("sales") == 1


def reserve_some(url: str) -> list[int]:
    async def run() -> list[int]:
        db = Database(url)
        numbers = [await Registry(db, "").reserve("care") for _ in range(20)]
        await db.close()
        return numbers

    return asyncio.run(run())


async def test_numbers_reserved_by_processes_are_distinct(db: Database, store_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = await asyncio.to_thread(pool.map, reserve_some, [store_url] * 2)
        pool.close()
        pool.join()
    assert sorted(parts[0] + parts[1]) == list(range(1, 41))


async def test_no_number_id_or_name_is_used_twice_even_after_deletion(
    db: Database, registry: Registry, register
) -> None:
    first, second = await register(), await register()
    async with db.session() as connection:
        await connection.execute(delete(AdapterVersionRow))
    third = await register()
    assert third.name == "care@3"
    assert third.id not in (first.id, second.id)


@pytest.mark.parametrize("lob", ["", "Care", "../care", "care/x", "a" * 33])
async def test_a_bad_name_is_refused_before_anything_is_written(
    registry: Registry, lob: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="cannot name a line of business"):
        await registry.reserve(lob)


async def test_what_was_not_reserved_or_is_taken_is_a_conflict(
    registry: Registry, register, adapter
) -> None:
    version = await register()
    fields = version.model_dump(
        include={"parent", "base_model", "base_hash", "dataset_id", "recipe", "metrics", "rank"}
    )
    with pytest.raises(Conflict, match="care@2 was not reserved"):
        await registry.register("care", 2, adapter(), **fields)
    with pytest.raises(Conflict, match="published once"):
        await registry.register("care", 1, adapter(), **fields)
    with pytest.raises(Conflict):
        await register(dataset_id="unknown")
    assert [found.name for found in await registry.list()] == ["care@1"]


async def test_a_refused_folder_leaves_no_version(registry: Registry, register, adapter) -> None:
    folder = adapter()
    (folder / "sub").mkdir()
    number = await registry.reserve("care")
    with pytest.raises(AdapterRefused):
        await registry.register(
            "care",
            number,
            folder,
            parent=None,
            base_model="b",
            base_hash="h",
            dataset_id=None,
            recipe={},
            metrics={},
            rank=4,
        )
    assert await registry.list() == []
    assert (await register()).name == "care@2"


async def test_metrics_and_decisions_are_noted(registry: Registry, register) -> None:
    await register(decision={"gate": "open"})
    await registry.set_metrics("care@1", {"edit_similarity": 0.9})
    version = await registry.get("care@1")
    assert version is not None
    assert (version.metrics, version.decision) == ({"edit_similarity": 0.9}, {"gate": "open"})
    await registry.set_metrics("care@1", {}, {"gate": "shut"})
    version = await registry.get("care@1")
    assert version is not None
    assert (version.metrics, version.decision) == ({}, {"gate": "shut"})
    with pytest.raises(NotFound, match="care@9"):
        await registry.set_metrics("care@9", {}, {})


async def states(registry: Registry) -> dict[str, str]:
    return {version.name: str(version.state) for version in await registry.list()}


async def test_a_promotion_changes_route_states_history_and_audit(
    db: Database, registry: Registry, register
) -> None:
    await register(), await register()
    assert await registry.routes() == {}
    first = await registry.switch("care", live="care@1", action="promote", key_id="key_1")
    assert first == Route(lob="care", live="care@1", epoch=1)
    second = await registry.switch("care", live="care@2", action="promote")
    assert await registry.routes() == {"care": second}
    assert (second.epoch, second.previous) == (2, "care@1")
    assert await states(registry) == {"care@1": "retired", "care@2": "live"}
    await registry.record_seconds("care", 2, 0.5)
    one, two = await registry.history("care")
    assert (one.from_version, one.to_version, one.key_id, one.seconds) == (
        None,
        "care@1",
        "key_1",
        None,
    )
    assert (two.from_version, two.to_version, two.epoch, two.seconds) == (
        "care@1",
        "care@2",
        2,
        0.5,
    )
    newest = (await audit.tail(db, 1))[0]
    assert (newest.action, newest.target, newest.detail["to_version"]) == (
        "promote",
        "care",
        "care@2",
    )


async def test_a_canary_comes_and_goes(registry: Registry, register) -> None:
    for _ in range(3):
        await register()
    await registry.switch("care", live="care@1", action="promote")
    route = await registry.switch("care", canary="care@2", share=0.1, action="canary")
    assert (route.live, route.canary, route.canary_share) == ("care@1", "care@2", 0.1)
    route = await registry.switch("care", share=0.3, action="canary")
    assert (route.canary, route.canary_share) == ("care@2", 0.3)
    route = await registry.switch("care", canary="care@3", action="canary")
    assert (route.canary, route.canary_share) == ("care@3", 0.3)
    assert await states(registry) == {
        "care@1": "live",
        "care@2": "candidate",
        "care@3": "canary",
    }
    route = await registry.switch("care", live="care@3", action="promote")
    assert route == Route(lob="care", live="care@3", previous="care@1", epoch=5)
    route = await registry.switch("care", canary="care@1", share=0.5, action="canary")
    route = await registry.switch("care", canary=None, action="cancel_canary")
    assert (route.live, route.canary, route.canary_share) == ("care@3", None, 0)
    assert (await states(registry))["care@3"] == "live"


async def test_a_switch_that_changes_nothing_writes_nothing(registry: Registry, register) -> None:
    await register()
    first = await registry.switch("care", live="care@1", action="promote")
    assert await registry.switch("care", live="care@1", action="promote") == first
    assert len(await registry.history()) == 1


async def test_what_may_not_serve_does_not(db: Database, registry: Registry, register) -> None:
    await register(), await register(), await register("sales")
    await registry.switch("care", live="care@1", action="promote")
    for wrong, error in [
        ({"live": "care@9"}, NotFound),
        ({"live": "sales@1"}, NotFound),
        ({"live": "../care"}, NotFound),
        ({"canary": "care@1", "share": 0.1}, Conflict),
        ({"canary": "care@2"}, InvalidRequest),
        ({"canary": "care@2", "share": 1.5}, InvalidRequest),
        ({"canary": "care@2", "share": float("nan")}, InvalidRequest),
    ]:
        with pytest.raises(error):
            await registry.switch("care", action="promote", **wrong)
    assert await registry.routes() == {"care": Route(lob="care", live="care@1", epoch=1)}
    assert len(await registry.history()) == 1


async def test_a_rejected_version_goes_live_only_by_force(registry: Registry, register) -> None:
    await register(), await register()
    await registry.reject("care@1", {"reason": "worse"}, key_id="key_1")
    await registry.reject("care@1", {"reason": "worse"})
    with pytest.raises(Conflict, match="rejected by the gate"):
        await registry.switch("care", live="care@1", action="promote")
    await registry.switch("care", live="care@1", action="promote", force=True)
    assert await states(registry) == {"care@1": "live", "care@2": "candidate"}
    with pytest.raises(Conflict, match="only a candidate"):
        await registry.reject("care@1", {})
    with pytest.raises(NotFound):
        await registry.reject("care@9", {})


async def test_rollbacks_go_back_step_by_step_to_the_base(registry: Registry, register) -> None:
    for _ in range(3):
        await register()
    assert await registry.previous_live("care") is None
    for number in (1, 2, 3):
        await registry.switch("care", live=f"care@{number}", action="promote")
    for expected in ("care@2", "care@1", None):
        assert await registry.previous_live("care") == expected
        await registry.switch("care", live=expected, action="rollback")
    assert await registry.previous_live("care") is None
    assert set((await states(registry)).values()) == {"retired"}
    await registry.switch("care", live="care@2", action="promote")
    await registry.switch("care", live="care@3", action="promote")
    await registry.switch("care", canary="care@1", share=0.5, action="canary")
    assert await registry.previous_live("care") == "care@2"


async def test_switches_at_once_happen_one_after_another(registry: Registry, register) -> None:
    for _ in range(4):
        await register()
    names = [f"care@{number}" for number in (1, 2, 3, 4)]
    await asyncio.gather(*(registry.switch("care", live=name, action="promote") for name in names))
    history = await registry.history("care")
    assert [rollout.epoch for rollout in history] == [1, 2, 3, 4]
    assert [rollout.from_version for rollout in history[1:]] == [
        rollout.to_version for rollout in history[:-1]
    ]
    assert sorted((await states(registry)).values()) == ["live", "retired", "retired", "retired"]


async def test_a_sweep_removes_only_old_folders_that_nobody_knows(
    registry: Registry, register, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    await register()
    day = time.time() - 25 * 3600
    old = ["care/2", f"care/.3.{'0' * 32}.part", "sales/1"]
    young = ["care/4"]
    foreign = ["care/notes", "Other/1"]
    for folder in (*old, *young, *foreign):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").touch()
    for folder in ("care/1", *old, *foreign):
        for path in ((root / folder), *(root / folder).iterdir()):
            os.utime(path, (day, day))
    assert sorted(await registry.sweep()) == sorted(str(root / folder) for folder in old)
    left = {str(path.relative_to(root)) for path in root.glob("*/*")}
    assert left == {"care/1", *young, *foreign}
    assert await registry.sweep() == []


async def test_a_sweep_works_in_a_bucket(sqlite_db: Database) -> None:
    memory = fsspec.filesystem("memory")
    root = f"memory://{uuid.uuid4().hex}"
    memory.pipe_file(f"{root.removeprefix('memory:/')}/care/1/file", b"x")
    registry = Registry(sqlite_db, root)
    assert await registry.sweep() == []
    assert len(await registry.sweep(age_s=-60)) == 1
    assert not memory.exists(f"{root.removeprefix('memory:/')}/care/1/file")


async def test_what_prompts_a_version_brings_is_read_from_its_folder(
    registry: Registry, register, adapter
) -> None:
    fields = (await register()).model_dump(
        include={"parent", "base_model", "base_hash", "dataset_id", "recipe", "metrics", "rank"}
    )
    folder = adapter()
    (folder / "prompts").mkdir()
    (folder / "prompts" / "suggestion.jinja").write_text("{% block user %}OWN{% endblock %}")
    number = await registry.reserve("care")
    made = await registry.register("care", number, folder, **fields)
    assert made.prompts is not None
    assert made.prompts["suggestion"]["name"] == "care@2/suggestion"
    assert len(made.prompts["suggestion"]["hash"]) == 16
    assert [one.prompts for one in await registry.list("care")] == [None, made.prompts]


async def test_a_version_whose_prompt_cannot_be_used_is_no_version(
    registry: Registry, register, adapter, tmp_path: Path
) -> None:
    fields = (await register()).model_dump(
        include={"parent", "base_model", "base_hash", "dataset_id", "recipe", "metrics", "rank"}
    )
    folder = adapter()
    (folder / "prompts").mkdir()
    (folder / "prompts" / "suggestion.jinja").write_text("{% block user %}{{ nobody }}")
    with pytest.raises(AdapterRefused, match=r"care@2/suggestion\.jinja"):
        await registry.register("care", await registry.reserve("care"), folder, **fields)
    assert [one.name for one in await registry.list()] == ["care@1"]
    assert not (tmp_path / "root" / "care" / "2").exists()
