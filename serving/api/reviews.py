"""`/v1/reviews`: the queue where people decide on answers that were held.

Reviewers see the tasks of their key's lines. Whoever asked for an answer waits for it here, and
sees no more of the task than where it stands and the final text.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from serving import endpoints
from serving.api.access import Reason, need, read_of
from serving.api.review_feed import ReviewFeed
from serving.auth import ALL, ApiKey, Role
from serving.capture import Drainer
from serving.capture.reviewing import Reviewing
from serving.errors import InvalidRequest, PermissionDenied
from serving.store import audit
from serving.store.reviews import queue
from serving.store.reviews.records import Decision, Review, Status

WAIT_S = 60.0
"""The longest wait of one request; a proxy between may allow less."""
Wait = Annotated[float, Query(ge=0, le=WAIT_S, allow_inf_nan=False)]
_SHOWN = {"context", "outcome", "now", "state", "taught", "claimed_by", "term"}


class ClaimBody(BaseModel):
    """A claim, or one that is to last longer."""

    model_config = ConfigDict(extra="forbid")

    claim: StrictInt | None = Field(
        None, ge=1, description="The number of your claim, to hold it for longer."
    )


class DecisionBody(BaseModel):
    """What a reviewer decides."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    text: str | None = Field(
        None, min_length=1, max_length=100_000, description="The final text of an edit."
    )
    reason: str = Field("", max_length=10_000, description="Why; stored with the feedback.")
    claim: StrictInt | None = Field(
        None, ge=1, description="The number of your claim, where several people share a key."
    )


class EventStream(StreamingResponse):
    """Server-sent events, as the schema describes them."""

    media_type = "text/event-stream"


def router(reviewing: Reviewing, drainer: Drainer) -> APIRouter:
    """Make the endpoints.

    Args:
        reviewing: The queues.
        drainer: Brings this replica's interactions to the store.
    """
    routes = APIRouter(prefix=endpoints.REVIEWS)
    feed = ReviewFeed(reviewing.db)

    async def _mine(request: Request, id_: str) -> tuple[ApiKey, Review]:
        """The key and a task of its lines."""
        key: ApiKey = request.state.key
        need(key, Role.REVIEWER)
        review = await queue.get(reviewing.db, id_)
        if not key.allows_lob(review.lob):
            raise PermissionDenied("This key does not cover the review's line of business.")
        return key, review

    async def _read(key: ApiKey, review: Review, reason: str | None) -> None:
        detail = read_of(review.lob, reason)
        await audit.write(reviewing.db, key.id or None, "read_review", review.id, detail)

    @routes.get("")
    async def _list(
        request: Request,
        lob: str | None = None,
        status: Status | None = None,
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        wait_s: Wait = 0,
    ) -> dict[str, Any]:
        lobs = _scope(request.state.key, lob)

        async def look() -> list[Review]:
            return await queue.find(reviewing.db, lobs=lobs, status=status, after=after)

        found, seen = await feed.until(look, wait_s)
        found = found or []
        data = [_shown(one) for one in found]
        more = len(found) == queue.PAGE
        last = found[-1].changed if more else max(after, seen, *(one.changed for one in found))
        return {"object": "list", "data": data, "last": last, "has_more": more}

    @routes.get("/stream", response_class=EventStream)
    async def _stream(request: Request, lob: str | None = None) -> EventStream:
        lobs = _scope(request.state.key, lob)
        seen = request.headers.get("last-event-id", "0")
        if not (seen.isascii() and seen.isdigit() and int(seen) < 2**63):
            raise InvalidRequest("Last-Event-ID is the id of an event.", param="Last-Event-ID")
        await feed.beyond(int(seen), 0)  # a store that is down is an error, not an empty stream
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        events = feed.events(int(seen), lobs)
        return EventStream(events, headers=headers)

    @routes.get("/{id}")
    async def _get(request: Request, id: str, reason: Reason = None) -> dict[str, Any]:  # noqa: A002
        key, review = await _mine(request, id)
        await _read(key, review, reason)
        return _whole(review)

    @routes.post("/{id}/claim")
    async def _claim(request: Request, id: str, body: ClaimBody | None = None) -> dict[str, Any]:  # noqa: A002
        key, _ = await _mine(request, id)
        claimed = await reviewing.claim(id, key.id, body.claim if body else None)
        return _whole(claimed) | {"claim": claimed.term}

    @routes.post("/{id}/release")
    async def _release(
        request: Request,
        id: str,  # noqa: A002
        body: ClaimBody | None = None,
    ) -> dict[str, Any]:
        key, _ = await _mine(request, id)
        term = body.claim if body else None
        return _shown(await queue.release(reviewing.db, id, key.id, term))

    @routes.post("/{id}/decision")
    async def _decide(request: Request, id: str, body: DecisionBody) -> dict[str, Any]:  # noqa: A002
        key, _ = await _mine(request, id)
        drainer.wake()
        decided = await reviewing.decide(
            id, key.id, body.decision, text=body.text, reason=body.reason, term=body.claim
        )
        return _whole(decided)

    @routes.get("/{id}/answer")
    async def _answer(request: Request, id: str, wait_s: Wait = 0) -> dict[str, Any]:  # noqa: A002
        key: ApiKey = request.state.key
        review = await queue.get(reviewing.db, id)
        reviews = key.allows(Role.REVIEWER) and key.allows_lob(review.lob)
        if review.key_id != key.id and not reviews:
            raise PermissionDenied("This review belongs to another key.")
        if review.key_id != key.id:
            await _read(key, review, None)

        async def decided() -> Review | None:
            now = await queue.get(reviewing.db, id)
            return now if now.status.final else None

        if not review.status.final:
            left_s = min(wait_s, review.final_deadline - review.now)
            found, _ = await feed.until(decided, max(0.0, left_s))
            review = found or await queue.get(reviewing.db, id)
        return _final(review)

    def _final(review: Review) -> dict[str, Any]:
        context = reviewing.context(review)
        text = reviewing.final_text(review)
        done = {
            "object": "review.answer",
            "id": review.id,
            "interaction_id": review.interaction_id,
            "status": review.status,
            "deadline": review.final_deadline,
            "final": review.status.final,
            "text": context["fallback"] if text is None else text,
        }
        if review.status is Status.APPROVED:
            done["response"] = context["response"]
        return done

    def _whole(review: Review) -> dict[str, Any]:
        context = reviewing.context(review)
        context.pop("claim_s")
        return _shown(review) | {"context": context, "outcome": reviewing.outcome(review)}

    return routes


def _scope(key: ApiKey, lob: str | None) -> tuple[str, ...] | None:
    """The lines whose tasks a key may list; None: all."""
    need(key, Role.REVIEWER)
    if lob is not None:
        if not key.allows_lob(lob):
            raise PermissionDenied(f"This key does not cover {lob[:64]}.", param="lob")
        return (lob,)
    return None if ALL in key.lobs else key.lobs


def _shown(review: Review) -> dict[str, Any]:
    """A task without its texts."""
    claimed = review.status is Status.CLAIMED
    return {
        "object": "review",
        **review.model_dump(mode="json", exclude=_SHOWN),
        "status": review.status,
        "claimed_by": review.claimed_by if claimed else None,
        "claim_until": review.claim_until if claimed else None,
    }
