"""The adapters of one replica: which are loaded, who uses them, and the routing table.

Everything runs on the replica's event loop, so a flip is one assignment. A version is loaded
before a route names it, and leaves the engine once no route names it and no request uses it. A
version that clients pin stays until the engine's own LRU cache needs its place. Where a line of
business can fall back to its previous version, that one stays loaded too. A version's own prompts
are here as long as its weights. One that an upstream answers is loaded without the engine.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from serving.adapters import artifacts, prompts, upstreams
from serving.adapters.registry import Registry
from serving.adapters.upstreams import Other
from serving.adapters.validation import check_adapter
from serving.config.prompts import Prompt, Task
from serving.errors import AdapterRefused, NotFound, StoreUnavailable, SwitchboardError
from serving.names import PREVIOUS
from serving.observability import metrics
from serving.routing import Table
from serving.store.records import AdapterVersion, Route

logger = logging.getLogger(__name__)
STATE_TTL_S = 2.0


class LoraEngine(Protocol):
    """What this needs of the engine."""

    async def load(self, adapter_id: int, name: str, path: Path) -> bool:
        """Load an adapter into a slot; returns whether it answers otherwise than the base."""

    async def unload(self, adapter_id: int, name: str) -> None:
        """Free an adapter's memory."""


class AdapterManager:
    """Loads, counts and drops adapter versions on this replica.

    Args:
        engine: Where they are loaded.
        registry: Where they are described.
        table: The routing table to start with.
        base_hash: Hash of the served base model, which an adapter must have been made for.
        base_folder: Its files, where they lie on this machine, to compare shapes with.
        max_rank: Largest LoRA rank that the engine has room for.
        cache_dir: Where remote artifacts are copied.
        upstreams: The model of each configured upstream, which may answer for a version.
    """

    def __init__(
        self,
        engine: LoraEngine,
        registry: Registry,
        table: Table,
        *,
        base_hash: str,
        base_folder: Path | None,
        max_rank: int,
        cache_dir: Path,
        upstreams: Mapping[str, str] | None = None,
    ) -> None:
        self.table = table
        self.inflight: Counter[str] = Counter()
        self.loaded: dict[str, AdapterVersion] = {}
        self._prompts: dict[str, dict[Task, Prompt]] = {}
        self._others: dict[str, Other] = {}
        self._upstreams = upstreams or {}
        self._engine = engine
        self._registry = registry
        self._base_hash = base_hash
        self._base_folder = base_folder
        self._max_rank = max_rank
        self._cache_dir = cache_dir
        self._with_fallback: frozenset[str] = frozenset()
        self._with_previous: frozenset[str] = frozenset()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[str, tuple[float, AdapterVersion]] = {}
        self._preparing: set[str] = set()
        self._leaving: set[str] = set()
        metrics.ADAPTERS_LOADED.set_function(lambda: len(self.loaded) - len(self._others))

    def acquire(self, version: str) -> None:
        """Count a request on a version, which keeps its weights until `release`."""
        self.inflight[version] += 1

    def release(self, version: str) -> None:
        """Count the request out; the last one out of a retired version frees its weights."""
        self.inflight[version] -= 1
        if self.inflight[version] <= 0:
            del self.inflight[version]
            if version in self._leaving:
                self._drop_later(version)

    async def describe(self, name: str) -> AdapterVersion:
        """The registry's record of a version, at most two seconds old while the store is up.

        Raises:
            NotFound: No such version.
            StoreUnavailable: The store is down and the version is not known here.
        """
        known = self._known.get(name)
        if known is None or time.monotonic() - known[0] > STATE_TTL_S:
            try:
                version = await self._registry.get(name)
            except StoreUnavailable:
                version = known[1] if known else self.loaded.get(name)
                if version is None:
                    raise
                return version
            if version is None:
                raise NotFound(f"The model `{name}` does not exist.", param="model")
            if len(self._known) > 10_000:
                self._known.clear()
            known = self._known[name] = (time.monotonic(), version)
        return known[1]

    def prompt(self, version: str, task: Task) -> Prompt | None:
        """A loaded version's own prompt for a task; None where the line's configured one is for it.

        Raises:
            KeyError: The version is not loaded, so nobody knows here; `ensure` loads it.
        """
        if version not in self.loaded:
            raise KeyError(version)
        return self._prompts.get(version, {}).get(task)

    def upstream(self, version: str) -> str | None:
        """The upstream that answers for a loaded version; None where the engine does."""
        other = self._others.get(version)
        return None if other is None else other.name

    async def ensure(self, version: AdapterVersion) -> None:
        """Load a version unless it is loaded.

        Raises:
            AdapterRefused: Its files are corrupt, for another base, or too large to serve; or one
                of its prompts cannot be used; or the upstream that answers for it is not
                configured.
        """
        if version.name in self.loaded:
            return
        async with self._locks[version.name]:
            if version.name in self.loaded:
                return
            path, own, other = await asyncio.to_thread(self._verified, version)
            if other is not None:
                self._others[version.name], self._prompts[version.name] = other, own
                self.loaded[version.name] = version
                return
            try:
                differs = await self._engine.load(version.id, version.name, path)
            except AdapterRefused:
                raise
            except Exception as exc:
                raise AdapterRefused(f"{version.name}: the engine refused it: {exc}") from exc
            self._prompts[version.name] = own
            self.loaded[version.name] = version
            if not differs and not own:
                metrics.WITHOUT_EFFECT.labels(version.name).inc()
                logger.warning(
                    "%s answers a probe just as the base does: it may have no effect", version.name
                )

    def _verified(self, version: AdapterVersion) -> tuple[Path, dict[Task, Prompt], Other | None]:
        path = artifacts.fetch(version.uri, self._cache_dir, version.manifest_hash)
        if (other := upstreams.of_folder(path)) is not None:
            upstreams.check(other, self._upstreams)
            return path, prompts.of_folder(path, version.name), other
        check_adapter(
            path,
            base_hash=self._base_hash,
            max_rank=self._max_rank,
            base_folder=self._base_folder,
            only_warn=True,
        )
        return path, prompts.of_folder(path, version.name), None

    async def prepare(self, version: AdapterVersion) -> None:
        """Phase one of a rollout: load and warm, and keep it until the next flip."""
        self._preparing.add(version.name)
        await self.ensure(version)

    async def activate(self, routes: Iterable[Route]) -> None:
        """Phase two: flip the table, then let go of versions that nothing leads to."""
        table = self.table.updated(routes)
        for name in table.serving() - self.loaded.keys():
            try:
                await self.ensure(await self.describe(name))
            except SwitchboardError as exc:
                if name.partition("@")[0] not in self._with_fallback:
                    raise
                logger.error("%s cannot be loaded; its line falls back: %s", name, exc)
        old, self.table = self.table, table
        standby = self._standby(table)
        self._leaving |= old.serving() | self._standby(old) | self._preparing
        self._leaving -= table.serving() | standby
        self._preparing.clear()
        for name in standby - self.loaded.keys():
            self._later(self._stand_by(name))
        for name in self._leaving:
            if not self.inflight[name]:
                self._drop_later(name)

    def _standby(self, table: Table) -> set[str]:
        routes = table.routes.values()
        return {r.previous for r in routes if r.previous and r.lob in self._with_previous}

    async def _stand_by(self, name: str) -> None:
        """Load what nothing leads to yet, in the background: a rollout does not wait for it."""
        try:
            await self.ensure(await self.describe(name))
        except SwitchboardError as exc:
            logger.warning("%s cannot stand by: %s", name, exc)

    def set_lobs(self, fallbacks: Mapping[str, Sequence[str]]) -> None:
        """Change the lines of business that requests may name; the routes stay.

        Args:
            fallbacks: Each line's fallback chain, by its name.
        """
        self.table = Table(self.table.base, fallbacks, self.table.routes)
        self._with_fallback = frozenset(name for name, chain in fallbacks.items() if chain)
        self._with_previous = frozenset(
            name for name, chain in fallbacks.items() if PREVIOUS in chain
        )

    def _drop_later(self, name: str) -> None:
        self._later(self._drop(name))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def _drop(self, name: str) -> None:
        async with self._locks[name]:
            if name not in self._leaving or name in self._preparing or self.inflight[name]:
                return
            self._leaving.discard(name)
            version = self.loaded.pop(name, None)
            self._prompts.pop(name, None)
            if self._others.pop(name, None) is not None or version is None:
                return
            try:
                await self._engine.unload(version.id, name)
            except Exception:
                logger.exception("%s could not be unloaded", name)


_tasks: set[asyncio.Task[None]] = set()
