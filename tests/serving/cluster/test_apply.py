"""Applying is all or nothing, with faults injected where replicas are deployed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serving.adapters.registry import Registry
from serving.cluster.apply import Applier
from serving.config.revision import Revision
from serving.config.settings import Settings
from serving.errors import Conflict, RolloutFailed
from serving.rollout.coordinator import Coordinator
from serving.store import audit
from serving.store.database import Database


def revision(**changes: Any) -> Revision:
    raw: dict[str, Any] = {"model": "m", "lobs": {"care": {}}, "replicas": 2}
    return Revision(Settings.model_validate(raw | changes), {})


OLD = revision()
HEAVY = revision(engine={"max_num_seqs": 9}, lobs={"care": {}, "sales": {}})
LIGHT = revision(lobs={"care": {}, "sales": {}})


@dataclass
class World:
    """An applier whose replicas are deployed by `deploy`, which may be told to fail or to wait."""

    coordinator: Coordinator
    db: Database
    deployed: list[Revision] = field(default_factory=list)
    kept: list[tuple[Revision, Revision | None]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unfit: Revision | None = None
    missing: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.applier = Applier(
            self.coordinator, self.db, deploy=self.deploy, keep=self.keep, short_of=self.short_of
        )

    async def deploy(self, revision: Revision) -> None:
        self.deployed.append(revision)
        await self.gate.wait()
        if revision is self.unfit:
            raise RolloutFailed("A replica could not start: no memory")

    async def keep(self, revision: Revision, pending: Revision | None) -> None:
        self.kept.append((revision, pending))

    async def short_of(self, settings: Settings) -> list[str]:
        return self.missing

    async def member(self, name: str) -> None:
        """A replica that enters and follows."""
        while True:
            current = await self.coordinator.revision()
            mine = current.hash if current else None
            if await self.coordinator.enter(name, [], mine) is None:
                break
        while True:
            for command in await self.coordinator.poll(name, timeout_s=0.05) or []:
                assert command.revision is not None
                self.told.append(f"{name} {command.revision.hash}")
                await self.coordinator.ack(name, command.id, None)

    async def applied(self, revision: Revision, **options: Any) -> dict[str, Any]:
        await self.applier.apply(revision, key_id="key_1", **options)
        await self.applier.settled()
        return await self.applier.view()


@pytest.fixture
async def world(sqlite_db: Database, tmp_path: Path) -> AsyncIterator[World]:
    async def alive(name: str) -> bool:
        return True

    async def fence(name: str) -> None:
        raise AssertionError(f"{name} is fenced")

    coordinator = Coordinator(Registry(sqlite_db, tmp_path), alive=alive, fence=fence)
    made = World(coordinator, sqlite_db)
    await made.applier.begin(OLD)
    members = [asyncio.create_task(made.member(name)) for name in ("a", "b")]
    while len(coordinator.members()) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    yield made
    for task in members:
        task.cancel()


async def test_light_change_reaches_members_and_restarts_nothing(world: World) -> None:
    view = await world.applied(LIGHT)
    assert (view["hash"], view["apply"]["state"], view["apply"]["replicas"]) == (
        LIGHT.hash,
        "applied",
        2,
    )
    assert sorted(world.told) == [f"a {LIGHT.hash}", f"b {LIGHT.hash}"]
    assert world.deployed == []
    assert world.kept[-1] == (LIGHT, None)


async def test_heavy_change_deploys_first_and_then_configures(world: World) -> None:
    view = await world.applied(HEAVY)
    assert view["hash"] == HEAVY.hash
    assert world.deployed == [HEAVY]
    assert len(world.told) == 2


async def test_replica_that_cannot_start_changes_nothing(world: World) -> None:
    world.unfit = HEAVY
    view = await world.applied(HEAVY)
    assert (view["hash"], view["apply"]["state"]) == (OLD.hash, "failed")
    assert "no memory" in view["apply"]["error"]
    assert world.deployed == [HEAVY, OLD]
    assert world.told == [], "what is light must not go ahead of what failed"
    assert world.kept[-1] == (OLD, None)
    (entry, *_) = await audit.tail(world.db)
    assert (entry.action, entry.key_id, entry.detail["state"]) == (
        "apply_config",
        "key_1",
        "failed",
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (revision(http={"port": 1234}, engine={"seed": 1}), "http.port"),
        (revision(store={"url": "sqlite:///x"}), "store.url"),
    ],
)
async def test_what_cannot_change_is_refused_whole(
    world: World, changed: Revision, words: str
) -> None:
    with pytest.raises(Conflict, match=words):
        await world.applier.apply(changed, key_id=None)
    assert (world.deployed, world.told) == ([], [])


async def test_who_only_asks_is_in_the_audit_too(world: World) -> None:
    plan = await world.applier.preview(LIGHT, key_id="key_2")
    with pytest.raises(Conflict, match=r"env\.A: only the file on the machine"):
        await world.applier.preview(revision(env={"A": "1"}), key_id="key_3")
    refused, possible = await audit.tail(world.db, 2)
    assert (possible.action, possible.key_id, possible.detail["keys"]) == (
        "preview_config",
        "key_2",
        plan.keys,
    )
    assert (refused.key_id, refused.detail["state"]) == ("key_3", "refused")
    assert world.deployed == world.told == []


async def test_no_room_for_one_more_is_said_before_anything_stops(world: World) -> None:
    world.missing = ["GPU: 1 needed, 0 free"]
    with pytest.raises(Conflict, match=r"GPU: 1 needed.*surge"):
        await world.applier.apply(HEAVY, key_id=None)
    assert (await world.applied(LIGHT))["hash"] == LIGHT.hash, "a light change needs no room"


async def test_only_replica_restarts_only_by_leave(world: World) -> None:
    single = revision(replicas=1, rollouts={"surge": False})
    assert (await world.applied(single))["hash"] == single.hash
    heavy = revision(replicas=1, rollouts={"surge": False}, engine={"seed": 1})
    with pytest.raises(Conflict, match="allow-gap"):
        await world.applier.apply(heavy, key_id=None)
    assert (await world.applied(heavy, allow_gap=True))["hash"] == heavy.hash


async def test_one_at_a_time(world: World) -> None:
    world.gate.clear()
    view = await world.applier.apply(HEAVY, key_id=None)
    assert (view["hash"], view["apply"]["state"]) == (OLD.hash, "running")
    with pytest.raises(Conflict, match="being applied"):
        await world.applier.apply(LIGHT, key_id=None)
    world.gate.set()
    await world.applier.settled()


async def test_interrupted_application_is_undone(world: World) -> None:
    await world.applier.recover(HEAVY)
    view = await world.applier.view()
    assert (view["hash"], view["apply"]["state"]) == (OLD.hash, "failed")
    assert world.deployed == [OLD]
    assert world.kept[-1] == (OLD, None)


async def test_replica_enters_only_with_the_configuration_in_force(world: World) -> None:
    assert await world.coordinator.enter("c", [], HEAVY.hash) == []
    assert "c" not in world.coordinator.members()
    assert await world.coordinator.enter("c", [], OLD.hash) is None
