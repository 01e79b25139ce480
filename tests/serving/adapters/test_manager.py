"""A replica's adapters where a line of business has a fallback chain."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from serving.adapters import artifacts, upstreams
from serving.adapters.manager import AdapterManager
from serving.adapters.registry import Registry
from serving.adapters.upstreams import Other
from serving.errors import AdapterRefused
from serving.observability import metrics
from serving.routing import Table
from serving.store.database import Database
from tests import versions
from tests.waiting import PATIENCE_S, until_async

Register = Callable[..., Awaitable[str]]


class Engine:
    """Notes what it is told to hold."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.changed = asyncio.Event()
        self.differs = True

    async def load(self, adapter_id: int, name: str, path: Path) -> bool:
        self.held.add(name)
        self.changed.set()
        return self.differs

    async def unload(self, adapter_id: int, name: str) -> None:
        self.held.discard(name)
        self.changed.set()


@pytest.fixture
def registry(sqlite_db: Database, tmp_path: Path) -> Registry:
    return Registry(sqlite_db, str(tmp_path / "adapters"))


@pytest.fixture
def register(registry: Registry, adapter: Callable[[], Path]) -> Register:
    async def make(prompt: str | None = None) -> str:
        folder = adapter()
        if prompt is not None:
            (folder / "prompts").mkdir()
            (folder / "prompts" / "suggestion.jinja").write_text(prompt)
        return await versions.register(registry, folder, base_hash="base-hash", rank=4)

    return make


def replica(
    registry: Registry, tmp_path: Path, *chain: str, upstreams: dict[str, str] | None = None
) -> tuple[AdapterManager, Engine]:
    engine = Engine()
    adapters = AdapterManager(
        engine,
        registry,
        Table("base", ["care"], {}),
        base_hash="base-hash",
        base_folder=None,
        max_rank=8,
        cache_dir=tmp_path / "cache",
        upstreams=upstreams,
    )
    adapters.set_lobs({"care": list(chain)})
    return adapters, engine


async def promote(registry: Registry, adapters: AdapterManager, name: str) -> None:
    version = await registry.get(name)
    assert version is not None
    await adapters.prepare(version)
    await adapters.activate([await registry.switch("care", live=name, action="promote")])


async def settled(engine: Engine, held: set[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while engine.held != held:
            engine.changed.clear()
            await engine.changed.wait()
    await asyncio.sleep(0.05)
    assert engine.held == held, "what is held must not be about to go"


@pytest.mark.parametrize(("chain", "kept"), [(["previous"], 2), (["base"], 1), ([], 1)])
async def test_the_previous_version_stays_loaded_where_a_chain_names_it(
    registry: Registry, register: Register, tmp_path: Path, chain: list[str], kept: int
) -> None:
    names = [await register() for _ in range(3)]
    adapters, engine = replica(registry, tmp_path, *chain)
    for name in names:
        await promote(registry, adapters, name)
    await settled(engine, set(names[-kept:]))


async def test_a_replica_that_starts_loads_the_previous_version_too(
    registry: Registry, register: Register, tmp_path: Path
) -> None:
    names = [await register() for _ in range(3)]
    for name in names:
        await registry.switch("care", live=name, action="promote")
    adapters, engine = replica(registry, tmp_path, "previous")
    await adapters.activate((await registry.routes()).values())
    await settled(engine, set(names[1:]))


async def test_a_replica_starts_without_a_live_version_only_where_it_can_fall_back(
    registry: Registry, register: Register, tmp_path: Path
) -> None:
    good, bad = await register(), await register()
    for name in (good, bad):
        await registry.switch("care", live=name, action="promote")
    (tmp_path / "adapters" / "care" / "2" / "adapter_model.safetensors").write_bytes(b"rubbish")
    routes = (await registry.routes()).values()
    alone, _ = replica(registry, tmp_path)
    with pytest.raises(AdapterRefused):
        await alone.activate(routes)
    adapters, engine = replica(registry, tmp_path, "previous")
    await adapters.activate(routes)
    assert adapters.table.resolve("care", "c").version == bad
    await settled(engine, {good})


async def test_a_version_that_answers_as_the_base_does_is_served_with_a_warning(
    registry: Registry, register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters, engine = replica(registry, tmp_path)
    first, second = await register(), await register()
    await adapters.ensure(await adapters.describe(first))
    assert caplog.text == ""
    engine.differs = False
    await adapters.ensure(await adapters.describe(second))
    assert f"{second} answers a probe just as the base does" in caplog.text
    assert second in adapters.loaded


async def test_a_version_s_own_prompts_are_there_as_long_as_it_is_loaded(
    registry: Registry, register: Register, tmp_path: Path
) -> None:
    adapters, engine = replica(registry, tmp_path)
    plain, own = await register(), await register("{% block user %}OWN{% endblock %}")
    with pytest.raises(KeyError):
        adapters.prompt(own, "suggestion")
    await promote(registry, adapters, own)
    found = adapters.prompt(own, "suggestion")
    assert found is not None
    assert found.name == f"{own}/suggestion"
    assert adapters.prompt(own, "summary") is None
    await promote(registry, adapters, plain)
    await settled(engine, {plain})
    assert adapters.prompt(plain, "suggestion") is None
    with pytest.raises(KeyError):
        adapters.prompt(own, "suggestion")


async def test_a_version_whose_prompt_cannot_be_used_is_not_loaded(
    registry: Registry, register: Register, tmp_path: Path
) -> None:
    adapters, engine = replica(registry, tmp_path)
    name = await register("{% block user %}OWN{% endblock %}")
    version = await registry.get(name)
    assert version is not None
    prompt = Path(version.uri) / "prompts" / "suggestion.jinja"
    prompt.write_text("{% block user %}{{ nobody }}{% endblock %}")
    manifest = artifacts.manifest(Path(version.uri))
    (Path(version.uri) / artifacts.MANIFEST).write_text(json.dumps(manifest))
    as_published = version.model_copy(update={"manifest_hash": artifacts.manifest_hash(manifest)})
    with pytest.raises(AdapterRefused, match=r"suggestion\.jinja: 'nobody' is undefined"):
        await adapters.ensure(as_published)
    assert engine.held == set()


async def test_a_version_that_is_a_prompt_alone_is_no_cause_for_a_warning(
    registry: Registry, register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters, engine = replica(registry, tmp_path)
    engine.differs = False
    name = await register("{% block user %}OWN{% endblock %}")
    await adapters.ensure(await adapters.describe(name))
    assert (name in adapters.loaded, caplog.text) == (True, "")
    assert metrics.WITHOUT_EFFECT.labels(name)._value.get() == 0


def of_upstream(folder: Path, prompt: str = "") -> Path:
    folder.mkdir()
    upstreams.write(folder, Other("big", "big-1"))
    if prompt:
        (folder / "prompts").mkdir()
        (folder / "prompts" / "suggestion.jinja").write_text(prompt)
    return folder


async def test_a_version_that_an_upstream_answers_is_loaded_without_the_engine(
    registry: Registry, register: Register, tmp_path: Path
) -> None:
    folder = of_upstream(tmp_path / "big", "{% block user %}OWN{% endblock %}")
    name = await versions.register(registry, folder, rank=0)
    after = await register()
    adapters, engine = replica(registry, tmp_path, upstreams={"big": "big-1"})
    await promote(registry, adapters, name)
    assert (engine.held, set(adapters.loaded)) == (set(), {name})
    assert adapters.upstream(name) == "big"
    assert adapters.prompt(name, "suggestion") is not None
    await promote(registry, adapters, after)
    await until_async(lambda: name not in adapters.loaded, "it is let go")
    assert (adapters.upstream(name), adapters.upstream(after), engine.held) == (None, None, {after})


@pytest.mark.parametrize(
    ("configured", "key"), [({}, "upstreams.big"), ({"big": "other"}, "upstreams.big.model")]
)
async def test_a_version_whose_upstream_is_not_as_it_was_is_refused_by_the_key(
    registry: Registry, tmp_path: Path, configured: dict[str, str], key: str
) -> None:
    name = await versions.register(registry, of_upstream(tmp_path / "big"), rank=0)
    adapters, _ = replica(registry, tmp_path, upstreams=configured)
    with pytest.raises(AdapterRefused, match=f"`{re.escape(key)}`"):
        await adapters.ensure(await adapters.describe(name))
    assert name not in adapters.loaded
