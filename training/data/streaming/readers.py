"""The first pass in several processes: what interactions say is read beside, and taken in order.

Redaction and hashing are most of what curation costs and are pure, one interaction at a time, so
the same interactions make the same dataset however many processes read them.
"""

import asyncio
import multiprocessing
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from serving import parent_process
from serving.store.records import LabelledInteraction
from training.data.forms import form as forms
from training.data.streaming import candidates, sources
from training.data.streaming.candidates import Candidate
from training.recipe.curation import CurationConfig

BATCH = 256
"""Interactions that a process reads at a time."""
ALONE = 8192
"""So many are read here before it is worth starting processes, which takes seconds."""


class Reading(NamedTuple):
    """What one interaction says, and its line in the file of sources."""

    found: list[Candidate]
    source: bytes


def default_processes() -> int:
    """Return how many processes may read: one a core; on one core, none beside this."""
    cores = len(os.sched_getaffinity(0))
    return min(cores, 8) if cores > 1 else 0


async def read(
    items: AsyncIterable[LabelledInteraction],
    rules: CurationConfig,
    form: str | None = None,
    *,
    processes: int | None = None,
    alone: int = ALONE,
) -> AsyncGenerator[Reading]:
    """Yield what each interaction says, in their order.

    Args:
        items: Interactions with their feedback.
        rules: The recipe's section.
        form: How the live version is asked, as `written` gives it; None: by the configured prompts.
        processes: How many read; None is one a core, 0 reads here.
        alone: How many are read here first.
    """
    processes = default_processes() if processes is None else processes
    if not processes:
        alone = -1
    seen = 0
    pool: ProcessPoolExecutor | None = None
    batch: list[LabelledInteraction] = []
    waiting: deque[asyncio.Future[list[Reading]]] = deque()
    try:
        async for item in items:
            seen += 1
            if alone < 0 or seen <= alone:
                yield _read(item, rules, form)
                continue
            batch.append(item)
            if len(batch) < BATCH:
                continue
            pool = pool or _pool(processes)
            waiting.append(asyncio.wrap_future(pool.submit(_read_all, batch, rules, form)))
            batch = []
            if len(waiting) > 2 * processes:
                for one in await waiting.popleft():
                    yield one
        while waiting:
            for one in await waiting.popleft():
                yield one
        for item in batch:
            yield _read(item, rules, form)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes,
        # Not by fork: this process has threads, and SQLite's connections.
        multiprocessing.get_context("spawn"),
        parent_process.end_with,
        (os.getpid(),),
    )


def _read_all(
    items: list[LabelledInteraction], rules: CurationConfig, form: str | None
) -> list[Reading]:
    return [_read(item, rules, form) for item in items]


def _read(item: LabelledInteraction, rules: CurationConfig, form: str | None) -> Reading:
    asked_by = None if form is None else forms.parsed(form)
    return Reading(candidates.read(item, rules, asked_by), sources.encoded(item))
