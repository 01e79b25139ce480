"""Batches are divided fairly, and who leaves, comes late or fails harms nobody else."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.embedding.batching import Batcher, shares
from serving.errors import InvalidRequest, Overloaded, SwitchboardError, Unavailable
from tests.waiting import until_async


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(1, 64))
def test_places_are_divided_evenly_and_none_is_left_empty(waiting: list[int], most: int) -> None:
    given_ = shares(waiting, most)
    assert sum(given_) == min(most, sum(waiting))
    assert all(0 <= got <= wants for got, wants in zip(given_, waiting, strict=True))
    unserved = [got for got, wants in zip(given_, waiting, strict=True) if got < wants]
    assert max(given_) <= min(unserved, default=max(given_)) + 1


class Doubling:
    """Doubles numbers, a batch at a time, each when it is let."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[Any]]] = []
        self.may = threading.Event()
        self.may.set()

    def __call__(self, kind: str, items: list[Any]) -> list[Any]:
        self.batches.append((kind, items))
        assert self.may.wait(60)
        if "bad" in items:
            raise SwitchboardError("It broke.")
        return [InvalidRequest("It is too long.") if one == "long" else one * 2 for one in items]


@pytest.fixture
def work() -> Doubling:
    return Doubling()


@pytest.fixture
async def batcher(work: Doubling) -> AsyncIterator[Batcher]:
    with ThreadPoolExecutor(1) as executor:
        made = Batcher(work, executor, most=4, max_waiting=10)
        yield made
        work.may.set()
        await made.close()


async def test_each_gets_its_results_in_order_over_several_batches(
    batcher: Batcher, work: Doubling
) -> None:
    assert await batcher.run("a", list(range(10))) == [2 * n for n in range(10)]
    assert [len(items) for _, items in work.batches] == [4, 4, 2]
    assert await batcher.run("a", []) == []


async def test_a_short_question_does_not_wait_for_a_long_one(
    batcher: Batcher, work: Doubling
) -> None:
    work.may.clear()
    long = asyncio.create_task(batcher.run("a", list(range(9))))
    await until_async(lambda: len(work.batches) == 1, "the first batch runs")
    short = asyncio.create_task(batcher.run("a", [100]))
    await asyncio.sleep(0)
    work.may.set()
    assert await short == [200]
    assert 100 in work.batches[1][1]
    assert await long == [2 * n for n in range(9)]


async def test_kinds_are_never_mixed(batcher: Batcher, work: Doubling) -> None:
    both = await asyncio.gather(batcher.run("a", [1] * 6), batcher.run("b", [2] * 2))
    assert both == [[2] * 6, [4] * 2]
    assert [kind for kind, _ in work.batches] == ["a", "b", "a"]


async def test_too_many_are_turned_away_unless_nobody_else_waits(
    batcher: Batcher, work: Doubling
) -> None:
    work.may.clear()
    first = asyncio.create_task(batcher.run("a", [1] * 8))
    await until_async(lambda: len(work.batches) == 1, "the first batch runs")
    with pytest.raises(Overloaded):
        await batcher.run("a", [1] * 3)
    work.may.set()
    await first
    assert len(await batcher.run("a", [1] * 11)) == 11


async def test_who_leaves_takes_no_more_places(batcher: Batcher, work: Doubling) -> None:
    work.may.clear()
    gone = asyncio.create_task(batcher.run("a", [1] * 8))
    await until_async(lambda: len(work.batches) == 1, "the first batch runs")
    gone.cancel()
    stays = asyncio.create_task(batcher.run("a", [5]))
    await asyncio.wait({gone})
    work.may.set()
    assert await stays == [10]
    assert [items for _, items in work.batches] == [[1] * 4, [5]]


async def test_what_fails_is_told_to_those_it_is_of(batcher: Batcher, work: Doubling) -> None:
    work.may.clear()
    one = asyncio.create_task(batcher.run("a", ["long", "x"]))
    two = asyncio.create_task(batcher.run("a", ["y"]))
    await asyncio.sleep(0)
    work.may.set()
    with pytest.raises(InvalidRequest):
        await one
    assert await two == ["yy"]
    with pytest.raises(SwitchboardError, match="broke"):
        await batcher.run("a", ["bad"])
    assert await batcher.run("a", ["z"]) == ["zz"]


async def test_who_still_waits_at_the_end_is_told(work: Doubling) -> None:
    with ThreadPoolExecutor(1) as executor:
        batcher = Batcher(work, executor, most=1, max_waiting=10)
        work.may.clear()
        waits = asyncio.create_task(batcher.run("a", [1, 2]))
        await until_async(lambda: len(work.batches) == 1, "the first batch runs")
        closing = asyncio.create_task(batcher.close())
        work.may.set()
        await closing
        with pytest.raises(Unavailable):
            await waits
