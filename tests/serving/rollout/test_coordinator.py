"""The coordinator's promises, with replicas whose faults are injected at its own interface."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

from serving.adapters.registry import Registry
from serving.errors import (
    AdapterRefused,
    Conflict,
    NotFound,
    RolloutFailed,
    StoreUnavailable,
    SwitchboardError,
)
from serving.rollout.coordinator import Coordinator
from serving.routing import Table
from serving.store.database import Database
from tests import versions
from tests.waiting import PATIENCE_S

Register = Callable[[str], "asyncio.Future[str]"]


class Replica:
    """A member that does what a real one does with commands, or fails in a chosen way."""

    def __init__(self, name: str, coordinator: Coordinator) -> None:
        self.name = name
        self.coordinator = coordinator
        self.table = Table("base", ["care", "sales"], {})
        self.prepared: set[str] = set()
        self.refuse: SwitchboardError | None = None
        self.mute = False
        self.slow_s = 0.0

    async def enter(self) -> None:
        routes = list(self.table.routes.values())
        while (current := await self.coordinator.enter(self.name, routes)) is not None:
            routes = current
            self.table = self.table.updated(current)

    async def run(self) -> None:
        while True:
            commands = await self.coordinator.poll(self.name, timeout_s=0.05)
            if commands is None:
                await self.enter()
                continue
            for command in commands:
                await asyncio.sleep(self.slow_s)
                if self.mute:
                    await asyncio.Event().wait()
                error = None
                if command.kind == "prepare" and command.version is not None:
                    error = self.refuse
                    self.prepared.add(command.version.name)
                else:
                    self.table = self.table.updated(command.routes)
                await self.coordinator.ack(self.name, command.id, error)

    def version(self, lob: str = "care") -> str:
        return self.table.resolve(lob, "conversation").version


class Cluster:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.dead: set[str] = set()
        self.fenced: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.coordinator = self.new_coordinator()

    def new_coordinator(self, **options: object) -> Coordinator:
        return Coordinator(
            self.registry,
            alive=self.alive,
            fence=self.fence,
            prepare_timeout_s=1.0,
            lost_after_s=0.6,
            **options,  # type: ignore[arg-type]
        )

    async def alive(self, name: str) -> bool:
        return name not in self.dead

    async def fence(self, name: str) -> None:
        self.fenced.append(name)
        self.kill(name)

    def kill(self, name: str) -> None:
        self.dead.add(name)
        if name in self.tasks:
            self.tasks[name].cancel()

    async def join(self, name: str) -> Replica:
        replica = Replica(name, self.coordinator)
        await replica.enter()
        self.tasks[name] = asyncio.create_task(replica.run())
        return replica


@asynccontextmanager
async def clustered(registry: Registry) -> AsyncIterator[Cluster]:
    made = Cluster(registry)
    yield made
    for task in made.tasks.values():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def registry(sqlite_db: Database, tmp_path: Path) -> Registry:
    return Registry(sqlite_db, str(tmp_path / "adapters"))


@pytest.fixture
async def cluster(registry: Registry) -> AsyncIterator[Cluster]:
    async with clustered(registry) as made:
        yield made


@pytest.fixture
def register(registry: Registry, tmp_path: Path) -> Callable[..., object]:
    """Register a version; the coordinator does not look into its files, replicas do."""

    async def make(lob: str = "care") -> str:
        folder = Path(mkdtemp(dir=tmp_path))
        (folder / "adapter_config.json").write_text("{}")
        return await versions.register(registry, folder, lob)

    return make


async def test_promote_flips_every_replica_before_it_returns(
    cluster: Cluster, register: Register
) -> None:
    replicas = [await cluster.join(f"r{i}") for i in range(3)]
    replicas[1].slow_s = 0.1
    name = await register("care")
    done = await cluster.coordinator.promote(name)
    assert [replica.version() for replica in replicas] == [name] * 3
    assert all(name in replica.prepared for replica in replicas)
    assert (done.replicas, done.from_version, done.to_version) == (3, None, name)


async def test_other_lobs_are_untouched(cluster: Cluster, register: Register) -> None:
    replica = await cluster.join("r0")
    await cluster.coordinator.promote(await register("care"))
    assert replica.version("sales") == "base"


async def test_refusal_on_one_replica_switches_nothing(
    cluster: Cluster, register: Register
) -> None:
    replicas = [await cluster.join(f"r{i}") for i in range(2)]
    first = await register("care")
    await cluster.coordinator.promote(first)
    replicas[1].refuse = AdapterRefused("truncated")
    second = await register("care")
    with pytest.raises(AdapterRefused, match="truncated"):
        await cluster.coordinator.promote(second)
    assert [replica.version() for replica in replicas] == [first] * 2
    assert (await cluster.registry.routes())["care"].live == first
    assert not cluster.fenced


async def test_silent_replica_is_fenced_and_the_rest_flip(
    cluster: Cluster, register: Register
) -> None:
    good, bad = await cluster.join("good"), await cluster.join("bad")
    bad.mute = True
    name = await register("care")
    with suppress(RolloutFailed):
        await cluster.coordinator.promote(name)
    if good.version() != name:  # it was fenced while preparing; the next try has only good ones
        await cluster.coordinator.promote(name)
    assert cluster.fenced == ["bad"]
    assert good.version() == name
    assert cluster.coordinator.members() == ["good"]


async def test_dead_replica_does_not_hold_up_a_promotion(
    cluster: Cluster, register: Register
) -> None:
    good = await cluster.join("good")
    await cluster.join("dead")
    cluster.kill("dead")
    name = await register("care")
    done = await cluster.coordinator.promote(name)
    assert (good.version(), done.replicas, cluster.fenced) == (name, 1, [])


async def test_replica_that_stops_leaves_without_holding_up_a_promotion(
    cluster: Cluster, register: Register
) -> None:
    await cluster.join("stays")
    leaving = await cluster.join("leaving")
    leaving.mute = True
    promotion = asyncio.create_task(cluster.coordinator.promote(await register("care")))
    await asyncio.sleep(0.1)
    assert not promotion.done()
    await cluster.coordinator.leave("leaving")
    await promotion
    assert (cluster.coordinator.members(), cluster.fenced) == (["stays"], [])


async def test_replica_that_starts_during_promotions_is_never_stale(
    cluster: Cluster, register: Register
) -> None:
    await cluster.join("old")
    names = [await register("care") for _ in range(5)]
    joined = []

    async def promote_all() -> None:
        for name in names:
            await cluster.coordinator.promote(name)
            live = [r.version() for r in joined]
            assert live == [name] * len(live)

    async def join_all() -> None:
        for i in range(5):
            joined.append(await cluster.join(f"new{i}"))
            await asyncio.sleep(0.01)

    await asyncio.gather(promote_all(), join_all())
    assert [replica.version() for replica in joined] == [names[-1]] * 5


async def test_rollback_returns_to_the_previous_version_then_to_base(
    cluster: Cluster, register: Register
) -> None:
    replica = await cluster.join("r0")
    first, second = await register("care"), await register("care")
    await cluster.coordinator.promote(first)
    await cluster.coordinator.promote(second)
    await cluster.coordinator.rollback("care")
    assert replica.version() == first
    await cluster.coordinator.rollback("care")
    assert replica.version() == "base"
    with pytest.raises(Conflict, match="nothing to roll back"):
        await cluster.coordinator.rollback("care")


async def test_canary_then_rollback_keeps_the_live_version(
    cluster: Cluster, register: Register
) -> None:
    replica = await cluster.join("r0")
    live, canary = await register("care"), await register("care")
    await cluster.coordinator.promote(live)
    await cluster.coordinator.canary(canary, 0.5)
    answers = {replica.table.resolve("care", str(i)).version for i in range(100)}
    assert answers == {live, canary}
    await cluster.coordinator.rollback("care")
    assert {replica.table.resolve("care", str(i)).version for i in range(100)} == {live}


async def test_a_rollback_of_a_canary_that_has_ended_undoes_nothing(
    cluster: Cluster, register: Register
) -> None:
    replica = await cluster.join("r0")
    live, canary = await register("care"), await register("care")
    await cluster.coordinator.promote(live)
    await cluster.coordinator.canary(canary, 0.5)
    await cluster.coordinator.rollback("care", canary=canary)
    with pytest.raises(Conflict, match="not care's canary any more"):
        await cluster.coordinator.rollback("care", canary=canary)
    assert replica.version() == live


async def test_rejected_version_needs_force(cluster: Cluster, register: Register) -> None:
    replica = await cluster.join("r0")
    name = await register("care")
    await cluster.registry.reject(name, {"reasons": ["worse"]})
    with pytest.raises(Conflict, match="rejected"):
        await cluster.coordinator.promote(name)
    assert replica.version() == "base"
    await cluster.coordinator.promote(name, force=True)
    assert replica.version() == name


async def test_unknown_version_is_not_found(cluster: Cluster) -> None:
    with pytest.raises(NotFound):
        await cluster.coordinator.promote("care@99")


async def test_restarted_coordinator_waits_for_replicas_that_ran_before(
    cluster: Cluster, register: Register
) -> None:
    replica = await cluster.join("r0")
    name = await register("care")
    fresh = cluster.new_coordinator(expected=["r0"])
    promotion = asyncio.create_task(fresh.promote(name))
    await asyncio.sleep(0.1)
    assert not promotion.done()
    replica.coordinator = fresh  # its poll fails over to the new actor
    await promotion
    assert replica.version() == name


@pytest.mark.parametrize("committed", [True, False])
async def test_a_switch_whose_commit_nobody_confirmed_is_followed_once_the_store_answers(
    cluster: Cluster, register: Register, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    replicas = [await cluster.join(f"r{i}") for i in range(2)]
    first, second = await register("care"), await register("care")
    await cluster.coordinator.promote(first)
    switch, routes = cluster.registry.switch, cluster.registry.routes
    down = False

    async def broken_switch(*args: object, **options: object) -> object:
        nonlocal down
        down = True
        if committed:
            await switch(*args, **options)  # type: ignore[arg-type]
        raise StoreUnavailable("the connection broke")

    async def broken_routes() -> object:
        if down:
            raise StoreUnavailable("down")
        return await routes()

    monkeypatch.setattr(cluster.registry, "switch", broken_switch)
    monkeypatch.setattr(cluster.registry, "routes", broken_routes)
    monkeypatch.setattr("serving.rollout.coordinator.RESOLVE_S", 0.01)
    with pytest.raises(StoreUnavailable):
        await cluster.coordinator.promote(second)
    await asyncio.sleep(0.1)
    assert [replica.version() for replica in replicas] == [first] * 2
    down = False
    async with asyncio.timeout(PATIENCE_S):
        await cluster.coordinator._resolving
    assert [replica.version() for replica in replicas] == [second if committed else first] * 2


async def test_a_switch_counts_although_its_duration_cannot_be_noted(
    cluster: Cluster, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await cluster.join("r0")
    name = await register("care")

    async def down(*_: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(cluster.registry, "record_seconds", down)
    assert (await cluster.coordinator.promote(name)).to_version == name
    assert replica.version() == name


async def test_routes_survive_a_restart(cluster: Cluster, register: Register) -> None:
    await cluster.join("r0")
    name = await register("care")
    await cluster.coordinator.promote(name)
    cluster.coordinator = cluster.new_coordinator()
    assert (await cluster.join("r1")).version() == name
