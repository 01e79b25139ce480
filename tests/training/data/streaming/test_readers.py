"""Interactions read by several processes say what they say when one reads them, in their order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count

import pytest

from serving.store.records import LabelledInteraction
from tests.training.records import labelled
from training.data.streaming import readers
from training.data.streaming.readers import Reading
from training.recipe.curation import CurationConfig

RULES = CurationConfig()
GIVEN = [
    labelled(f"i{n}", {"edit": f"Mail u{n}@example.org order number 4711{n:04d}."})
    for n in range(40)
]


async def stream() -> AsyncIterator[LabelledInteraction]:
    for item in GIVEN:
        yield item


def read(processes: int, alone: int) -> list[Reading]:
    async def all_of_it() -> list[Reading]:
        return [
            one async for one in readers.read(stream(), RULES, processes=processes, alone=alone)
        ]

    return asyncio.run(all_of_it())


def test_processes_read_what_one_reads_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH", 4)
    alone = read(processes=0, alone=0)
    assert len(alone) == len(GIVEN)
    assert any(one.row is not None for reading in alone for one in reading.found)
    assert read(processes=2, alone=6) == alone


def test_a_reader_that_is_left_early_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH", 2)
    started: list[object] = []
    pool = readers._pool

    def noted(processes: int) -> object:
        started.append(pool(processes))
        return started[-1]

    monkeypatch.setattr(readers, "_pool", noted)

    async def leave() -> None:
        taken = count(1)
        async with aclosing(readers.read(stream(), RULES, processes=1, alone=0)) as readings:
            async for _ in readings:
                if next(taken) == 3:
                    raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        asyncio.run(leave())
    (one,) = started
    with pytest.raises(RuntimeError, match="after shutdown"):
        one.submit(print)  # type: ignore[attr-defined]
