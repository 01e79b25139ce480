"""The review queue: what waits for a person, one task with what was found, the decision on it."""

from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from serving import endpoints
from serving.console.frame import Frame, Visit
from serving.console.marks import marked, spans_of
from serving.errors import InvalidRequest
from serving.store.reviews.records import Status

PAGE = f"{endpoints.CONSOLE}/review"
UNDECIDED = (Status.ESCALATED, Status.PENDING, Status.CLAIMED)
"""In the order of the queue's page."""
REASON = "console"
"""What the audit says of who reads a task here."""


def routes(frame: Frame) -> list[Route]:
    """Return the routes."""

    async def queue(visit: Visit) -> Response:
        asked = visit.request.query_params.get("status", "")
        status = asked if asked in [*Status] else ""
        wanted = [status] if status else UNDECIDED
        found = [await visit.api.get(endpoints.REVIEWS, status=one) for one in wanted]
        return frame.pages.show(
            "review",
            visit.visitor,
            tasks=[task for page in found for task in page["data"]],
            more=any(page["has_more"] for page in found),
            chosen=status,
            statuses=[*Status],
        )

    async def task(visit: Visit) -> Response:
        found = await visit.api.get(endpoints.REVIEWS, visit.path["id"], reason=REASON)
        context = found["context"]
        text = context["text"]
        mine = found["status"] == Status.CLAIMED and found["claimed_by"] == visit.visitor.key.id
        return frame.pages.show(
            "review-task",
            visit.visitor,
            task=found,
            context=context,
            pieces=None if text is None else marked(text, spans_of(context)),
            mine=mine,
            claim=_claim(visit.request.query_params.get("claim", "")),
            free=found["status"] in {Status.PENDING, Status.ESCALATED},
        )

    async def claim(visit: Visit) -> Response:
        id_ = visit.path["id"]
        claimed = await visit.api.post(endpoints.REVIEWS, id_, "claim", body={})
        return RedirectResponse(f"{PAGE}/{quote(id_)}?claim={claimed['claim']}", 303)

    async def release(visit: Visit) -> Response:
        body = _with_claim({}, visit)
        await visit.api.post(endpoints.REVIEWS, visit.path["id"], "release", body=body)
        return RedirectResponse(PAGE, 303)

    async def decide(visit: Visit) -> Response:
        said: dict[str, Any] = {
            "decision": visit.form.get("decision", ""),
            "reason": visit.form.get("reason", ""),
        }
        if said["decision"] == "edit":
            said["text"] = visit.form.get("text", "")
        body = _with_claim(said, visit)
        await visit.api.post(endpoints.REVIEWS, visit.path["id"], "decision", body=body)
        return RedirectResponse(PAGE, 303)

    return [
        frame.route("review", queue),
        frame.route("review", task, "/{id}"),
        frame.route("review", claim, "/{id}/claim", "POST"),
        frame.route("review", release, "/{id}/release", "POST"),
        frame.route("review", decide, "/{id}/decision", "POST"),
    ]


def _claim(text: str) -> str:
    return text if text.isascii() and text.isdigit() else ""


def _with_claim(body: dict[str, Any], visit: Visit) -> dict[str, Any]:
    given = visit.form.get("claim", "")
    if not given:
        return body
    if not _claim(given) or len(given) > 18:
        raise InvalidRequest("The form's claim is no number.", param="claim")
    return body | {"claim": int(given)}
