"""The live version of each line's libraries, in a replica's memory, and searches in them.

Nothing runs by itself: a search that comes `REFRESH_S` after the last look has the store asked
which versions are live, in the background, and is answered by what is there. A search has a
deadline, and what fails is an outcome and never an error: whoever asks goes on without. A version
whose embeddings nobody has stored is searched by words, until they are made.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from serving.config.lobs import Lob, Search
from serving.errors import SwitchboardError, Unavailable
from serving.knowledge.embedding import Embedder, passages
from serving.knowledge.index import Hit, Index, Vectors
from serving.observability import metrics
from serving.observability.alarm import Alarm
from serving.store.database import Database
from serving.store.libraries import vectors, versions
from serving.store.libraries.versions import Entry, Kind

logger = logging.getLogger(__name__)

REFRESH_S = 2.0
RETRY_S = 30.0
"""Until what gave no embeddings of a version is asked for them again."""
WARM_S = 30.0
_Key = tuple[str, Kind]


class Outcome(StrEnum):
    """How a search ended."""

    FOUND = "found"
    NOTHING = "nothing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, from the best on."""

    outcome: Outcome
    version: int | None = None
    hits: tuple[Hit, ...] = ()

    @property
    def entries(self) -> tuple[tuple[Entry, float], ...]:
        """Each entry with its score."""
        return tuple((hit.entry, hit.score) for hit in self.hits)


@dataclass(frozen=True, slots=True)
class _Loaded:
    number: int
    index: Index
    embedder: Embedder | None
    """Whose embeddings it has."""
    again: float = math.inf
    """When to try for those that it should have, as `time.monotonic` tells it."""


class Libraries:
    """The libraries of all lines.

    Args:
        db: The store.
        lobs: The lines of business.
        embedder: Returns what embeds by an upstream's name.
        own: What embeds for lines that name none; None: their libraries are searched by words.
    """

    def __init__(
        self,
        db: Database,
        lobs: Mapping[str, Lob],
        embedder: Callable[[str], Embedder],
        own: Embedder | None = None,
    ) -> None:
        self._db, self._embedder, self._own = db, embedder, own
        self._loaded: dict[_Key, _Loaded] = {}
        self._looked: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._embedding: asyncio.Task[None] | None = None
        self._fault: Exception | None = None
        self.alarm = Alarm("knowledge and responses cannot be searched")
        self._wanted = _wanted(lobs)

    def configure(self, lobs: Mapping[str, Lob]) -> None:
        """Search the libraries of other lines; what is new is read at the next search."""
        wanted = _wanted(lobs)
        if wanted != self._wanted:
            self._wanted, self._looked = wanted, None

    async def search(
        self, lob: str, kind: Kind, query: str, most: int, *, agent: str = ""
    ) -> Found:
        """Search the live version of a line's library; never raises.

        Args:
            lob: The line.
            kind: Which of its libraries.
            query: In words.
            most: How many entries at most.
            agent: Whose own entries may be found beside everybody's.
        """
        its = self._wanted.get((lob, kind))
        if its is None:
            return Found(Outcome.NOTHING)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(its.timeout_s):
                found = await self._search((lob, kind), its, query, most, agent)
            self.alarm.off()
        except (SwitchboardError, TimeoutError) as exc:
            self.alarm.on(exc)
            found = Found(Outcome.FAILED)
        except Exception:
            logger.exception("a search in the %s of %s failed", kind.value, lob)
            found = Found(Outcome.FAILED)
        metrics.SEARCHES.labels(lob, kind.value, found.outcome.value).inc()
        metrics.SEARCH_SECONDS.labels(kind.value).observe(time.perf_counter() - began)
        return found

    async def refresh(self) -> None:
        """Read which versions are live and what is not in memory yet, and embed what is not.

        Raises:
            SwitchboardError: The store fails.
        """
        await self._read()
        await self._embed()

    async def warm(self) -> None:
        """Read and embed what is live before the first request, unless that is long or fails."""
        if self._wanted and (looking := self._look()) is not None:
            began = time.monotonic()
            await asyncio.wait({looking}, timeout=WARM_S)
            if self._embedding is not None:
                left = max(0.0, began + WARM_S - time.monotonic())
                await asyncio.wait({self._embedding}, timeout=left)

    async def close(self) -> None:
        """End what runs in the background."""
        for task in (self._looking, self._embedding):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _search(self, key: _Key, its: Search, query: str, most: int, agent: str) -> Found:
        known = self._looked is not None
        looking = self._look()
        if looking is not None and not (known and key in self._loaded):
            await asyncio.shield(looking)
        have = self._loaded.get(key)
        if have is None:
            if self._fault is not None:
                raise Unavailable("No version could be read.") from self._fault
            return Found(Outcome.NOTHING)
        vector = await self._vector(have.embedder, query, its.timeout_s / 2)

        def ask() -> list[Hit]:
            return have.index.search(
                query,
                vector,
                most=most,
                min_score=its.min_score,
                min_similarity=its.min_similarity,
                agent=agent,
            )

        hits = tuple(await asyncio.to_thread(ask))
        return Found(Outcome.FOUND if hits else Outcome.NOTHING, have.number, hits)

    async def _vector(
        self, embedder: Embedder | None, query: str, timeout_s: float
    ) -> Vectors | None:
        """Return the query's embedding; None, so that words decide alone, where there is none."""
        if embedder is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                return await embedder.question(query)
        except (SwitchboardError, TimeoutError) as exc:
            logger.warning("No embedding of a question, so words decide alone: %s", exc)
            return None

    def _look(self) -> asyncio.Task[None] | None:
        """Look what is live, if it is time; the task that does, if one does now."""
        if self._looking is not None and not self._looking.done():
            return self._looking
        if self._looked is not None and time.monotonic() - self._looked < REFRESH_S:
            return None
        self._looking = asyncio.create_task(self._refreshed())
        return self._looking

    async def _refreshed(self) -> None:
        try:
            await self._read()
            self._fault = None
        except SwitchboardError as exc:
            self._fault = exc
            self.alarm.on(exc)
        except Exception as exc:
            self._fault = exc
            logger.exception("the libraries cannot be read")
        self._looked = time.monotonic()
        if self._embedding is None or self._embedding.done():
            self._embedding = asyncio.create_task(self._embedded())

    async def _embedded(self) -> None:
        try:
            await self._embed()
        except Exception:
            logger.exception("the libraries cannot be embedded")

    async def _read(self) -> None:
        """Read which versions are live and, with stored embeddings, those not in memory yet."""
        wanted = dict(self._wanted)
        live = await versions.live(self._db) if wanted else {}
        for key in [key for key in self._loaded if key not in wanted or key not in live]:
            del self._loaded[key]
        for key, its in wanted.items():
            number, have = live.get(key), self._loaded.get(key)
            if number is None:
                continue
            embedder = self._of(its)
            if have is None or have.number != number or _is_another(have, embedder):
                await self._load(key, number, embedder)

    async def _load(self, key: _Key, number: int, embedder: Embedder | None) -> None:
        lob, kind = key
        entries = await versions.entries(self._db, lob, kind, number)
        stored = None
        if embedder is not None:
            of = (self._db, lob, kind, number, embedder.key, len(entries))
            stored = await vectors.read(*of)
        index = await asyncio.to_thread(Index, entries, stored)
        made = _Loaded(number, index, embedder if stored is not None else None)
        missing = embedder is not None and stored is None
        self._loaded[key] = replace(made, again=0.0) if missing else made
        logger.info("%s of %s: version %d, %d entries", kind.value, lob, number, len(entries))

    async def _embed(self) -> None:
        """Make, and store, the embeddings that versions in memory should have."""
        for key, have in list(self._loaded.items()):
            its = self._wanted.get(key)
            embedder = None if its is None else self._of(its)
            if embedder is None or time.monotonic() < have.again:
                continue
            lob, kind = key
            entries = have.index.entries
            try:
                made = await passages(embedder, entries)
                await vectors.write(self._db, lob, kind, have.number, embedder.key, made)
                index = await asyncio.to_thread(Index, entries, made)
                new = _Loaded(have.number, index, embedder)
            except (SwitchboardError, TimeoutError) as exc:  # by words alone, until it answers
                self.alarm.on(exc)
                new = replace(have, again=time.monotonic() + RETRY_S)
            if self._loaded.get(key) is have:
                self._loaded[key] = new

    def _of(self, its: Search) -> Embedder | None:
        """What embeds a library."""
        if its.embeddings is None:
            return self._own
        return self._embedder(its.embeddings) if its.embeddings else None


def _is_another(have: _Loaded, embedder: Embedder | None) -> bool:
    """Whether a library has the embeddings of another, or lacks those that it just got to want."""
    has = have.embedder.key if have.embedder is not None else None
    wants = embedder.key if embedder is not None else None
    return has != wants and (has is not None or have.again == math.inf)


def _wanted(lobs: Mapping[str, Lob]) -> dict[_Key, Search]:
    found: dict[_Key, Search] = {}
    for name, lob in lobs.items():
        if lob.knowledge is not None:
            found[name, Kind.KNOWLEDGE] = lob.knowledge
        if lob.responses is not None:
            found[name, Kind.RESPONSES] = lob.responses
    return found
