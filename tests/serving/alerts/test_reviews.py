"""A line's webhook hears of its tasks: once each while all is well, never a text, nobody waits."""

import asyncio
import json
from typing import Any

import pytest

from serving.alerts.reviews import LEASE, ReviewNotices, pause_s
from serving.capture.review_sweep import Sweep
from serving.config.lobs import Lob
from serving.observability.webhook import IDEMPOTENCY, SIGNATURE, sign
from serving.store.database import Database
from serving.store.reviews import queue
from tests.serving.capture.test_reviewing import ANSWER, held, queues
from tests.serving.store.reviews.test_queue import let_pass, new
from tests.serving.store.test_leases import expire
from tests.waiting import until_async
from tests.webhook_receiver import Received, receiving


def line(**webhook: Any) -> Lob:
    named = {"url": "${CARE_HOOK}", "secret": "${CARE_SECRET}"} | webhook
    reviews = {"deadline_s": 10, "escalation_s": 10, "escalate_to": ["lead"], "webhook": named}
    return Lob.model_validate({"reviews": reviews})


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARE_SECRET", "s3cret")


def heard(got: Received) -> list[tuple[str, str]]:
    return [
        (headers[IDEMPOTENCY], json.loads(body)["event"].removeprefix("review_"))
        for headers, body in got.posts
    ]


async def test_each_event_is_told_once_in_order_signed_and_without_a_text(
    db: Database, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    care = line()
    reviewing = queues(db, **care.model_dump())
    review = await held(reviewing)
    other = Database(store_url)
    with receiving() as got:
        monkeypatch.setenv("CARE_HOOK", got.url)
        both = [ReviewNotices(one, {"care": care}, name) for one, name in ((db, "a"), (other, "b"))]
        assert sorted(await asyncio.gather(*(one.once("care") for one in both))) == [
            [],
            ["created"],
        ]
        await let_pass(db, 11)
        await Sweep(reviewing, "r").once()
        await let_pass(db, 10)
        await Sweep(reviewing, "r").once()
        assert await both[1].once("care") == ["escalated", "expired"]
        assert await both[0].once("care") == []
    assert heard(got) == [
        (f"{review.id}.{kind}", kind) for kind in ("created", "escalated", "expired")
    ]
    for headers, body in got.posts:
        said = json.loads(body)
        assert headers[SIGNATURE] == sign("s3cret", body)
        assert (said["review_id"], said["lob"], said["kinds"]) == (review.id, "care", ["amount"])
        assert said["id"] == headers[IDEMPOTENCY]
        assert said["escalate_to"] == ["lead"]
        assert said["final_deadline"] == pytest.approx(said["deadline"] + 10)
        assert ANSWER.encode() not in body
        assert b"4111" not in body
    await other.close()


async def test_what_was_not_taken_is_told_again_with_its_key_after_a_pause(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.create(db, new())
    notices = ReviewNotices(db, {"care": line()}, "a")
    with receiving(status=500) as down:
        monkeypatch.setenv("CARE_HOOK", down.url)
        assert await notices.once("care") == []
        assert await notices.once("care") == [], "another try, or replica, waits for the pause"
    assert len(down.posts) == 1
    assert "care: nobody is told of its reviews" in caplog.text
    await expire(db, f"{LEASE}care")
    with receiving() as got:
        monkeypatch.setenv("CARE_HOOK", got.url)
        assert await ReviewNotices(db, {"care": line()}, "after a kill").once("care") == ["created"]
    assert heard(got) == heard(down) == [("review-1.created", "created")]


async def test_a_secret_that_is_not_there_is_told_in_the_log_and_loses_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.create(db, new())
    notices = ReviewNotices(db, {"care": line()}, "a")
    assert await notices.once("care") == []
    assert "CARE_HOOK is not set" in caplog.text
    await expire(db, f"{LEASE}care")
    with receiving() as got:
        monkeypatch.setenv("CARE_HOOK", got.url)
        assert await notices.once("care") == ["created"]


async def test_a_line_whose_webhook_hangs_holds_up_neither_another_line_nor_the_sweep(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = sqlite_db
    hangs, works = line(url="${HANGS}"), line()
    await queue.create(db, new("review-1", lob="sales", deadline_s=10.0))
    await queue.create(db, new("review-2"))
    with receiving(delay_s=3600) as stuck, receiving() as got:
        monkeypatch.setenv("HANGS", stuck.url)
        monkeypatch.setenv("CARE_HOOK", got.url)
        notices = ReviewNotices(db, {"sales": hangs, "care": works}, "a")
        running = asyncio.create_task(notices.run())
        await until_async(lambda: stuck.posts and got.posts, "both lines are asked")
        await let_pass(db, 11)
        assert await Sweep(queues(db), "r").once() == ["escalated"]
        running.cancel()
        await asyncio.wait([running])
    assert heard(got) == [("review-2.created", "created")]


async def test_only_what_a_line_asks_for_is_told(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    care = line(events=["escalated"])
    await queue.create(db, new("review-1", deadline_s=1.0))
    await queue.create(db, new("review-2", lob="sales", deadline_s=1.0))
    await let_pass(db, 2)
    await Sweep(queues(db), "r").once()
    with receiving() as got:
        monkeypatch.setenv("CARE_HOOK", got.url)
        notices = ReviewNotices(db, {"care": care}, "a")
        assert await notices.once("care") == ["escalated"]
        assert await notices.once("sales") == [], "it has no webhook"
        notices.configure({"care": Lob.model_validate({"reviews": {}})})
        assert await notices.once("care") == []
    assert heard(got) == [("review-1.escalated", "escalated")]


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 9)] == [2.0, 4.0, 8.0, 60.0]
    assert pause_s(100_000) == 60.0
