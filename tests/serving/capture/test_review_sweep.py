"""The sweep: notes what time did, once among several, again after one was killed."""

import asyncio

from prometheus_client import REGISTRY

from serving.capture.review_sweep import LEASE, Sweep
from serving.store import leases
from serving.store.database import Database
from serving.store.reviews import feed, queue
from tests.serving.capture.test_reviewing import held, queues
from tests.serving.store.reviews.test_queue import let_pass
from tests.serving.store.test_leases import expire


def value(name: str) -> float:
    return REGISTRY.get_sample_value(f"switchboard_{name}", {"lob": "care"}) or 0.0


async def test_of_several_sweeps_at_once_each_finding_is_ones(db: Database, store_url: str) -> None:
    review = await held(queues(db, reviews={"deadline_s": 10, "escalation_s": 10}))
    others = [Database(store_url) for _ in range(3)]
    before = value("reviews_expired_total")
    await let_pass(db, 21)
    sweeps = [Sweep(queues(other), f"r{n}") for n, other in enumerate(others)]
    noted = await asyncio.gather(*(sweep.once() for sweep in sweeps))
    assert [kind for one in noted for kind in one] == ["expired"]
    assert [event.kind for event in await feed.since(db, 0)] == ["created", "expired"]
    assert (await queue.get(db, review.id)).state == "expired"
    assert value("reviews_expired_total") == before + 1
    for other in others:
        await other.close()


async def test_a_sweep_goes_on_where_one_was_killed(db: Database) -> None:
    await held(queues(db))
    await let_pass(db, 1001)
    assert await leases.acquire(db, LEASE, "killed", 10) is not None
    sweep = Sweep(queues(db), "r")
    assert await sweep.once() == []
    await expire(db, LEASE)
    assert await sweep.once() == ["escalated"]
    assert await sweep.once() == []


async def test_a_lapsed_claim_is_noted_and_the_depth_counts_what_waits(db: Database) -> None:
    reviewing = queues(db, reviews={"deadline_s": 1000, "claim_s": 10})
    review = await held(reviewing)
    await reviewing.claim(review.id, "ann", None)
    sweep = Sweep(reviewing, "r")
    await let_pass(db, 11)
    assert await sweep.once() == ["lapsed"]
    assert value("review_queue_depth") == 1
    await let_pass(db, 5000)
    await sweep.once()
    await sweep.once()
    assert value("review_queue_depth") == 0
