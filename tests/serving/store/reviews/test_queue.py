"""Tasks: one claim, one decision, and what time does; on SQLite and PostgreSQL."""

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import update

from serving.errors import Conflict, NotFound
from serving.store import audit
from serving.store.database import Database
from serving.store.reviews import feed, queue
from serving.store.reviews.records import Decision, EventKind, NewReview, Review, Status
from serving.store.reviews.tables import ReviewRow

LEASE_S = 1000.0


def new(id_: str = "review-1", **fields: Any) -> NewReview:
    given = {"id": id_, "lob": "care", "task": "suggestion", "version": "care@7"}
    given |= {"interaction_id": f"chatcmpl-{id_}", "key_id": "asks", "kinds": ["amount"]}
    times = {"deadline_s": 1000.0, "escalation_s": 1000.0}
    return NewReview.model_validate({**given, **times, "context": b"{}", **fields})


async def let_pass(db: Database, seconds: float) -> None:
    """Move all times of all tasks into the past, as if that had passed."""
    times = ("created_at", "deadline", "final_deadline", "claim_until")
    moved = {name: getattr(ReviewRow, name) - seconds for name in times}
    async with db.session() as connection:
        await connection.execute(update(ReviewRow).values(moved))


async def decide(db: Database, key: str, decision: Decision = Decision.APPROVE) -> Review:
    return await queue.decide(db, "review-1", key, decision, b'{"by":"%b"}' % key.encode())


async def test_of_twenty_claims_at_once_one_wins_and_decides(db: Database, store_url: str) -> None:
    await queue.create(db, new())
    others = [Database(store_url) for _ in range(4)]

    async def take(number: int) -> Review:
        return await queue.claim(others[number % 4], "review-1", f"key-{number}", LEASE_S)

    taken = await asyncio.gather(*map(take, range(20)), return_exceptions=True)
    (won,) = [one for one in taken if isinstance(one, Review)]
    assert [type(one) for one in taken if one is not won and not isinstance(one, Review)] == (
        [Conflict] * 19
    )
    assert (won.status, won.term) == (Status.CLAIMED, 1)
    said = await asyncio.gather(
        *(decide(others[n % 4], f"key-{n}") for n in range(20)), return_exceptions=True
    )
    assert [one.decided_by for one in said if isinstance(one, Review)] == [won.claimed_by]
    for other in others:
        await other.close()


async def test_of_one_holders_decisions_at_once_one_wins(db: Database, store_url: str) -> None:
    await queue.create(db, new())
    await queue.claim(db, "review-1", "ann", LEASE_S)
    others = [Database(store_url) for _ in range(4)]
    said = await asyncio.gather(
        *(decide(other, "ann", one) for other in others for one in Decision),
        return_exceptions=True,
    )
    (won,) = [one for one in said if isinstance(one, Review)]
    stands = await queue.get(db, "review-1")
    assert stands.status is won.status
    assert stands.outcome == won.outcome
    kinds = [event.kind for event in await feed.since(db, 0)]
    assert kinds == ["created", "claimed", won.status]
    for other in others:
        await other.close()


async def test_a_decider_that_is_killed_leaves_a_whole_decision_or_none(
    db: Database, store_url: str
) -> None:
    await queue.create(db, new())
    await queue.claim(db, "review-1", "ann", LEASE_S)
    program = (
        "import asyncio, os, signal, sys\n"
        "from serving.store.database import Database\n"
        "async def run():\n"
        "    db = Database(sys.argv[1])\n"
        "    async with db.session() as connection:\n"
        "        await connection.exec_driver_sql(\"UPDATE reviews SET state = 'approved'\")\n"
        "        print('open', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(run())\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, store_url],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "open\n"), done.stderr
    assert (await queue.get(db, "review-1")).status is Status.CLAIMED
    assert (await decide(db, "ann")).status is Status.APPROVED


async def test_a_claim_that_lapses_returns_to_the_queue_and_decides_no_more(db: Database) -> None:
    await queue.create(db, new())
    await queue.claim(db, "review-1", "ann", 10)
    await let_pass(db, 11)
    assert (await queue.get(db, "review-1")).status is Status.PENDING
    with pytest.raises(Conflict, match="claim it first"):
        await decide(db, "ann")
    assert (await queue.claim(db, "review-1", "ben", LEASE_S)).term == 2
    with pytest.raises(Conflict, match="another"):
        await decide(db, "ann")
    assert (await decide(db, "ben")).status is Status.APPROVED


async def test_a_key_that_people_share_claims_once_and_decides_by_its_claims_number(
    db: Database,
) -> None:
    await queue.create(db, new())
    first = await queue.claim(db, "review-1", "team", 10)
    with pytest.raises(Conflict):
        await queue.claim(db, "review-1", "team", 10)
    longer = await queue.claim(db, "review-1", "team", LEASE_S, first.term)
    assert (longer.term, longer.claim_until) > (1, (first.claim_until or 0) + 900)
    with pytest.raises(Conflict):
        await queue.decide(db, "review-1", "team", Decision.REJECT, b"{}", term=2)
    await queue.decide(db, "review-1", "team", Decision.REJECT, b"{}", term=1)


async def test_a_released_task_is_free_and_only_its_holder_releases_it(db: Database) -> None:
    await queue.create(db, new())
    await queue.claim(db, "review-1", "ann", LEASE_S)
    with pytest.raises(Conflict):
        await queue.release(db, "review-1", "ben")
    assert (await queue.release(db, "review-1", "ann")).status is Status.PENDING


async def test_time_escalates_and_then_expires_and_a_sweep_notes_each_once(db: Database) -> None:
    await queue.create(db, new())
    assert await queue.due(db) == []
    await let_pass(db, 1001)
    assert (await queue.get(db, "review-1")).status is Status.ESCALATED  # before any sweep
    assert await queue.due(db) == ["review-1"]
    noted = await asyncio.gather(*(queue.advance(db, "review-1") for _ in range(4)))
    assert [kind for one in noted for kind in one] == [EventKind.ESCALATED]
    assert await queue.due(db) == []
    await queue.claim(db, "review-1", "ann", LEASE_S)  # an escalated task may be claimed
    await let_pass(db, 1000)
    assert (await queue.get(db, "review-1")).status is Status.EXPIRED
    with pytest.raises(Conflict, match="expired"):
        await decide(db, "ann")
    with pytest.raises(Conflict, match="expired"):
        await queue.claim(db, "review-1", "ann", LEASE_S)
    assert await queue.advance(db, "review-1") == [EventKind.EXPIRED]
    assert await queue.due(db) == []


async def test_each_act_is_an_event_and_an_audit_entry(db: Database) -> None:
    await queue.create(db, new())
    await queue.claim(db, "review-1", "ann", LEASE_S)
    await decide(db, "ann", Decision.EDIT)
    events = await feed.since(db, 0)
    assert [(one.kind, one.key_id) for one in events] == [
        ("created", None),
        ("claimed", "ann"),
        ("edited", "ann"),
    ]
    entries = [one for one in await audit.tail(db) if one.target == "review-1"]
    assert [one.action for one in reversed(entries)] == [
        "review_created",
        "review_claimed",
        "review_edited",
    ]


async def test_tasks_are_found_by_line_status_and_last_change(db: Database) -> None:
    for id_, lob in (("a", "care"), ("b", "sales"), ("c", "care")):
        await queue.create(db, new(id_, lob=lob))
    await queue.claim(db, "a", "ann", LEASE_S)

    async def ids(**wanted: Any) -> list[str]:
        return [one.id for one in await queue.find(db, **wanted)]

    assert await ids() == ["b", "c", "a"]
    assert await ids(lobs=("care",)) == ["c", "a"]
    assert await ids(lobs=()) == []
    assert await ids(status=Status.CLAIMED) == ["a"]
    assert await ids(status=Status.PENDING) == ["b", "c"]
    assert await ids(after=3) == ["a"]
    assert await queue.depths(db) == {"care": 2, "sales": 1}
    await let_pass(db, 5000)
    assert await ids(status=Status.EXPIRED) == ["b", "c", "a"]
    assert await queue.depths(db) == {}


async def test_decisions_stay_untaught_until_they_are_feedback(db: Database) -> None:
    await queue.create(db, new())
    await queue.claim(db, "review-1", "ann", LEASE_S)
    assert await queue.untaught(db) == []
    await decide(db, "ann")
    assert [one.id for one in await queue.untaught(db)] == ["review-1"]
    await queue.taught(db, "review-1")
    assert await queue.untaught(db) == []


async def test_what_is_not_there_is_not_found(db: Database) -> None:
    for act in (
        queue.get(db, "nothing"),
        queue.claim(db, "nothing", "ann", LEASE_S),
        queue.release(db, "nothing", "ann"),
    ):
        with pytest.raises(NotFound):
            await act


async def test_an_interaction_becomes_one_task(db: Database) -> None:
    await queue.create(db, new("a", interaction_id="chatcmpl-1"))
    with pytest.raises(Conflict):
        await queue.create(db, new("b", interaction_id="chatcmpl-1"))
