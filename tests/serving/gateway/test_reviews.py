"""The queue over HTTP, through the real gateway: who may see and decide what, and who waits."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from serving.api import review_feed
from serving.capture.review_sweep import Sweep
from serving.store.database import Database
from serving.store.reviews.tables import ReviewRow
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.guarding.test_checks import chat
from tests.serving.gateway.guarding.test_review import FALLBACK, SAID, hold


async def held(site: Site, **reviews: Any) -> str:
    hold(site, **reviews)
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post("/v1/chat/completions", json=chat("Hello"))
    return answer.headers["x-switchboard-review"]


async def overdue(db: Database, seconds: float) -> None:
    times = {n: getattr(ReviewRow, n) - seconds for n in ("deadline", "final_deadline")}
    async with db.session() as connection:
        await connection.execute(update(ReviewRow).values(times))


async def test_a_waiting_client_gets_the_edit_and_the_edit_is_feedback(site: Site) -> None:
    id_ = await held(site)
    async with (
        await site.http(["service"], ["*"]) as asks,
        await site.http(["reviewer"], ["care"]) as reviews,
    ):
        waiting = asyncio.create_task(asks.get(f"/v1/reviews/{id_}/answer?wait_s=60"))
        shown = (await reviews.get(f"/v1/reviews/{id_}")).json()
        assert shown["context"]["text"] == SAID
        claimed = await reviews.post(f"/v1/reviews/{id_}/claim")
        assert (claimed.json()["status"], claimed.json()["claim"]) == ("claimed", 1)
        assert not waiting.done()
        said = {"decision": "edit", "text": "We look.", "reason": "a competitor", "claim": 1}
        decided = await reviews.post(f"/v1/reviews/{id_}/decision", json=said)
        assert (decided.status_code, decided.json()["status"]) == (200, "edited"), decided.text
        final = (await waiting).json()
        assert (final["status"], final["text"], final["final"]) == ("edited", "We look.", True)
        await site.stored()
        await Sweep(site.reviewing, "r").once()
        kept = (await reviews.get(f"/v1/interactions/{final['interaction_id']}")).json()
    assert [(one["edit"], one["comment"]) for one in kept["feedback"]] == [
        ("We look.", "a competitor")
    ]


async def test_an_approval_gives_the_whole_answer(site: Site) -> None:
    id_ = await held(site)
    async with await site.http(["reviewer", "service"], ["care"]) as http:
        before = (await http.get(f"/v1/reviews/{id_}/answer")).json()
        assert (before["final"], before["text"]) == (False, FALLBACK)
        await http.post(f"/v1/reviews/{id_}/claim")
        await http.post(f"/v1/reviews/{id_}/decision", json={"decision": "approve"})
        after = (await http.get(f"/v1/reviews/{id_}/answer")).json()
    assert (after["status"], after["text"]) == ("approved", SAID)
    assert after["response"]["choices"][0]["message"]["content"] == SAID


async def test_expiry_gives_the_fallback_text_to_who_waits(site: Site) -> None:
    id_ = await held(site, deadline_s=100, escalation_s=100)
    async with await site.http(["service"], ["*"]) as asks:
        await overdue(site.db, 100.5)
        assert (await asks.get(f"/v1/reviews/{id_}/answer")).json()["status"] == "escalated"
        await overdue(site.db, 99)
        final = (await asks.get(f"/v1/reviews/{id_}/answer?wait_s=60")).json()
    assert (final["status"], final["text"], final["final"]) == ("expired", FALLBACK, True)


@pytest.mark.parametrize(
    ("roles", "lobs", "status"),
    [
        (["service"], ["*"], 403),
        (["agent"], ["care"], 403),
        (["trainer"], ["*"], 403),
        (["reviewer"], ["sales"], 403),
        (["reviewer"], ["care"], 200),
        (["admin"], ["*"], 200),
    ],
)
async def test_reviewers_see_their_lines_tasks_and_nobody_else(
    site: Site,
    roles: list[str],
    lobs: list[str],
    status: int,
) -> None:
    id_ = await held(site)
    async with await site.http(roles, lobs) as http:
        assert (await http.get(f"/v1/reviews/{id_}")).status_code == status
        listed = await http.get("/v1/reviews")
        claimed = await http.post(f"/v1/reviews/{id_}/claim")
    assert claimed.status_code == status
    assert listed.status_code == (200 if {"reviewer", "admin"} & {*roles} else 403)
    if listed.status_code == 200:
        assert [one["id"] for one in listed.json()["data"]] == ([id_] if status == 200 else [])
        assert "Acme" not in listed.text


async def test_only_who_asked_waits_for_the_answer(site: Site) -> None:
    id_ = await held(site)
    async with await site.http(["service"], ["care"]) as other:
        assert (await other.get(f"/v1/reviews/{id_}/answer")).status_code == 403


async def test_of_twenty_reviewers_at_once_one_claims_and_one_decides(site: Site) -> None:
    id_ = await held(site)
    async with await site.http(["reviewer"], ["care"]) as ann:
        claims = await asyncio.gather(*(ann.post(f"/v1/reviews/{id_}/claim") for _ in range(20)))
        (won,) = [one for one in claims if one.status_code == 200]
        assert {one.status_code for one in claims} == {200, 409}
        said = [{"decision": "edit", "text": f"Text {n}."} for n in range(20)]
        done = await asyncio.gather(
            *(ann.post(f"/v1/reviews/{id_}/decision", json=one) for one in said)
        )
        (final,) = [one.json() for one in done if one.status_code == 200]
        stands = (await ann.get(f"/v1/reviews/{id_}")).json()
    assert won.json()["claim"] == 1
    assert stands["outcome"] == final["outcome"]


async def test_a_released_task_is_pending_and_a_decision_needs_a_claim(site: Site) -> None:
    id_ = await held(site)
    async with await site.http(["reviewer"], ["care"]) as ann:
        refused = await ann.post(f"/v1/reviews/{id_}/decision", json={"decision": "reject"})
        assert refused.status_code == 409
        await ann.post(f"/v1/reviews/{id_}/claim")
        released = await ann.post(f"/v1/reviews/{id_}/release")
    assert released.json()["status"] == "pending"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"decision": "maybe"}, "decision"),
        ({"decision": "edit"}, "text"),
        ({"decision": "approve", "text": "x"}, "text"),
        ({"decision": "approve", "why": "x"}, "why"),
    ],
)
async def test_a_faulty_decision_is_refused_by_name(
    site: Site,
    body: dict[str, Any],
    param: str,
) -> None:
    id_ = await held(site)
    async with await site.http(["reviewer"], ["care"]) as ann:
        await ann.post(f"/v1/reviews/{id_}/claim")
        answer = await ann.post(f"/v1/reviews/{id_}/decision", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert (await ann.get(f"/v1/reviews/{id_}")).json()["status"] == "claimed"


async def test_a_list_waits_for_what_is_new_and_reads_on_from_there(site: Site) -> None:
    async with await site.http(["reviewer"], ["care"]) as ann:
        empty = (await ann.get("/v1/reviews?after=0")).json()
        waiting = asyncio.create_task(ann.get(f"/v1/reviews?after={empty['last']}&wait_s=60"))
        id_ = await held(site)
        page = (await waiting).json()
        assert [one["id"] for one in page["data"]] == [id_]
        again = (await ann.get(f"/v1/reviews?after={page['last']}&wait_s=0.1")).json()
        assert (again["data"], again["last"]) == ([], page["last"])
        await ann.post(f"/v1/reviews/{id_}/claim")
        changed = (await ann.get(f"/v1/reviews?after={page['last']}")).json()
        assert [one["status"] for one in changed["data"]] == ["claimed"]
        assert (await ann.get("/v1/reviews?lob=sales")).status_code == 403
        assert (await ann.get("/v1/reviews?status=lost")).status_code == 400


def read(answer: httpx.Response) -> list[tuple[str, str]]:
    """The events of a stream, as (id, kind)."""
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["id"], lines["event"]))
    return found


async def test_a_stream_tells_each_event_and_resumes_after_the_last_one_seen(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(review_feed, "STREAM_S", 1.5)
    id_ = await held(site)
    async with await site.http(["reviewer"], ["care"]) as ann:
        streaming = asyncio.create_task(ann.get("/v1/reviews/stream"))
        await ann.post(f"/v1/reviews/{id_}/claim")
        first = await streaming
        assert first.headers["content-type"].startswith("text/event-stream")
        assert read(first) == [("1", "created"), ("2", "claimed")]
        await ann.post(f"/v1/reviews/{id_}/release")
        resumed = await ann.get("/v1/reviews/stream", headers={"last-event-id": "2"})
        assert read(resumed) == [("3", "released")]
        wrong = await ann.get("/v1/reviews/stream", headers={"last-event-id": "x"})
        assert wrong.status_code == 400
    async with await site.http(["reviewer"], ["sales"]) as other:
        assert read(await other.get("/v1/reviews/stream")) == []
