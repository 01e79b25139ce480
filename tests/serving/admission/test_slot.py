"""A visit waits for its places and gives them back, however it ends."""

import asyncio
import time

import pytest

from serving.admission.deadline import Deadline
from serving.admission.fair_queue import Admission
from serving.admission.slot import AdmissionSlot
from serving.config.limits import Limits, LobLimits
from serving.errors import DeadlineExceeded


async def test_deadline_in_the_queue_frees_the_place_in_it() -> None:
    admission = Admission(Limits(), {"care": LobLimits()}, places=1)
    key = admission.arrive("k", "k")
    with AdmissionSlot(admission, key) as first:
        assert not await first.enter("care", 0, 1, Deadline(None, 0))
        with pytest.raises(DeadlineExceeded), AdmissionSlot(admission, key) as second:
            await second.enter("care", 0, 1, Deadline(0.02, time.perf_counter()))
        assert admission.waiting == 0
    assert admission.inflight == 0


async def test_client_that_leaves_the_queue_frees_the_place_in_it() -> None:
    admission = Admission(Limits(), {"care": LobLimits()}, places=1)
    key = admission.arrive("k", "k")

    async def wait() -> None:
        with AdmissionSlot(admission, key) as visit:
            await visit.enter("care", 0, 1, Deadline(None, 0))

    with AdmissionSlot(admission, key) as first:
        await first.enter("care", 0, 1, Deadline(None, 0))
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert admission.waiting == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (admission.waiting, admission.inflight) == (0, 1)


async def test_queued_request_enters_when_a_place_is_free() -> None:
    admission = Admission(Limits(), {"care": LobLimits()}, places=1)
    key = admission.arrive("k", "k")
    with AdmissionSlot(admission, key) as first:
        await first.enter("care", 0, 1, Deadline(None, 0))
        second = AdmissionSlot(admission, key)
        entering = asyncio.create_task(second.enter("care", 0, 1, Deadline(None, 0)))
        await asyncio.sleep(0)
    assert await entering
    assert second.waited_s > 0
    assert admission.inflight == 1
    with second:
        pass
    assert admission.inflight == 0
