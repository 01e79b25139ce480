"""The live version of each line's libraries, in a replica's memory, and searches in them.

Nothing runs by itself: a search that comes `REFRESH_S` after the last look has the store asked
which versions are live, in the background, and is answered by what is there. A search has a
deadline, and what fails is an outcome and never an error: whoever asks goes on without.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from serving.config.lobs import Lob, Search
from serving.errors import SwitchboardError, Unavailable
from serving.knowledge.index import Index, Vectors, indexed
from serving.observability import metrics
from serving.observability.alarm import Alarm
from serving.store.database import Database
from serving.store.libraries import versions
from serving.store.libraries.versions import Entry, Kind

logger = logging.getLogger(__name__)

REFRESH_S = 2.0
RETRY_S = 30.0
"""Until an upstream that gave no embeddings of a version is asked for them again."""
WARM_S = 30.0
EMBED_AT_ONCE = 64
_Key = tuple[str, Kind]


class Embedder(Protocol):
    """What makes embeddings of texts."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the embedding of each text.

        Raises:
            SwitchboardError: There is no answer.
        """


class Outcome(StrEnum):
    """How a search ended."""

    FOUND = "found"
    NOTHING = "nothing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: entries from the best on, each with its score."""

    outcome: Outcome
    version: int | None = None
    entries: tuple[tuple[Entry, float], ...] = ()


@dataclass(frozen=True, slots=True)
class _Loaded:
    number: int
    index: Index
    embedder: str | None
    """The upstream whose embeddings it has."""
    again: float
    """When to try again for those that it should have, as `time.monotonic` tells it."""


class Libraries:
    """The libraries of all lines.

    Args:
        db: The store.
        lobs: The lines of business.
        embedder: Returns an upstream by its name, to ask for embeddings.
    """

    def __init__(
        self, db: Database, lobs: Mapping[str, Lob], embedder: Callable[[str], Embedder]
    ) -> None:
        self._db, self._embedder = db, embedder
        self._loaded: dict[_Key, _Loaded] = {}
        self._looked: float | None = None
        self._looking: asyncio.Task[None] | None = None
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
        """Read which versions are live, and those that are not in memory yet.

        Raises:
            SwitchboardError: The store, or an upstream for a first version's embeddings, fails.
        """
        wanted = dict(self._wanted)
        live = await versions.live(self._db) if wanted else {}
        for key in [key for key in self._loaded if key not in wanted or key not in live]:
            del self._loaded[key]
        for key, its in wanted.items():
            number, have = live.get(key), self._loaded.get(key)
            if number is not None and (have is None or _is_stale(have, number, its)):
                await self._load(key, number, its)

    async def warm(self) -> None:
        """Read what is live before the first request, unless that takes long or fails."""
        if self._wanted and (looking := self._look()) is not None:
            await asyncio.wait({looking}, timeout=WARM_S)

    async def close(self) -> None:
        """End what runs in the background."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

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

        def ask() -> list[tuple[Entry, float]]:
            return have.index.search(
                query,
                vector,
                most=most,
                min_score=its.min_score,
                min_similarity=its.min_similarity,
                agent=agent,
            )

        entries = tuple(await asyncio.to_thread(ask))
        return Found(Outcome.FOUND if entries else Outcome.NOTHING, have.number, entries)

    async def _vector(
        self, embedder: str | None, query: str, timeout_s: float
    ) -> list[float] | None:
        """Return the query's embedding; None, so that words decide alone, where there is none."""
        if embedder is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                (vector,) = await self._embedder(embedder).embed([query])
        except (SwitchboardError, TimeoutError) as exc:
            logger.warning("No embedding of a question, so words decide alone: %s", exc)
            return None
        return vector

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
            await self.refresh()
            self._fault = None
        except SwitchboardError as exc:
            self._fault = exc
            self.alarm.on(exc)
        except Exception as exc:
            self._fault = exc
            logger.exception("the libraries cannot be read")
        self._looked = time.monotonic()

    async def _load(self, key: _Key, number: int, its: Search) -> None:
        lob, kind = key
        entries = await versions.entries(self._db, lob, kind, number)
        vectors, embedder = None, its.embeddings
        if embedder is not None:
            try:
                vectors = await self._vectors(embedder, entries)
            except SwitchboardError as exc:  # by words alone, until it answers
                self.alarm.on(exc)
                embedder = None
        index = await asyncio.to_thread(Index, entries, vectors)
        again = math.inf if embedder == its.embeddings else time.monotonic() + RETRY_S
        self._loaded[key] = _Loaded(number, index, embedder, again)
        logger.info("%s of %s: version %d, %d entries", kind.value, lob, number, len(entries))

    async def _vectors(self, embedder: str, entries: Sequence[Entry]) -> Vectors:
        texts = [indexed(entry) for entry in entries]
        rows: list[list[float]] = []
        for start in range(0, len(texts), EMBED_AT_ONCE):
            rows += await self._embedder(embedder).embed(texts[start : start + EMBED_AT_ONCE])
        vectors: Vectors = await asyncio.to_thread(np.asarray, rows, np.float32)
        return vectors


def _is_stale(have: _Loaded, number: int, its: Search) -> bool:
    if have.number != number or time.monotonic() >= have.again:
        return True
    return have.embedder not in {None, its.embeddings} or (
        have.embedder != its.embeddings and have.again == math.inf
    )


def _wanted(lobs: Mapping[str, Lob]) -> dict[_Key, Search]:
    found: dict[_Key, Search] = {}
    for name, lob in lobs.items():
        if lob.knowledge is not None:
            found[name, Kind.KNOWLEDGE] = lob.knowledge
        if lob.responses is not None:
            found[name, Kind.RESPONSES] = lob.responses
    return found
