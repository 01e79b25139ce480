"""`/v1/events`: what an agent did with a suggestion or a summary, in batches.

A batch is stored whole or not at all, and may be sent again: an event is known by its id. An event
that says what feedback says is feedback, too; where that is refused, because another key has
judged already, the event is still a fact and stays. Of an answer that was held for review the
reviewer's decision alone is feedback.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from serving import endpoints
from serving.api.access import need, scope
from serving.api.arrival import Arrivals
from serving.auth import ApiKey, Role
from serving.capture.storing import Storing
from serving.errors import Conflict, InvalidRequest, PermissionDenied, SwitchboardError
from serving.observability import metrics
from serving.store import candidates, events, feedback
from serving.store.database import Database
from serving.store.events import EventRecord, Kind
from serving.store.records import InteractionRecord
from serving.store.reviews.records import held_as

MAX_EVENTS = 100
MAX_CANDIDATES = 128

Index = Annotated[StrictInt, Field(ge=0, lt=2**31)]
Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Section = Annotated[str, Field(min_length=1, max_length=128)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_id: str = Field(
        min_length=1, max_length=128, description="Yours, unique for ever; again changes nothing."
    )
    id: str = Field(min_length=1, max_length=128, description="The response's own id.")
    at: float = Field(
        ge=0, lt=1e11, allow_inf_nan=False, description="Seconds since the epoch, by your clock."
    )


class _OfCandidate(_Event):
    index: Index = Field(0, description="Which of the response's `choices`, by its `index`.")


class Displayed(_Event):
    """Candidates came on the screen."""

    type: Literal[Kind.DISPLAYED]
    candidates: list[Index] = Field([0], min_length=1, max_length=MAX_CANDIDATES)


class Inserted(_OfCandidate):
    """The agent put a candidate into the reply."""

    type: Literal[Kind.INSERTED]
    rank: Index | None = Field(None, description="Its place on the screen, from 0.")


class Edited(_OfCandidate):
    """The agent changed what was inserted."""

    type: Literal[Kind.EDITED]
    text: Text


class Sent(_OfCandidate):
    """The reply went out."""

    type: Literal[Kind.SENT]
    text: Text = Field(description="The final text, whatever its origin.")


class Dismissed(_OfCandidate):
    """The agent put a candidate away."""

    type: Literal[Kind.DISMISSED]


class Typed(_Event):
    """The agent wrote a reply without any candidate: the turn's final text all the same."""

    type: Literal[Kind.TYPED]
    text: Text = Field(description="The final text.")
    draft: Text | None = Field(None, description="What was written before the candidates came.")
    snippet: Section | None = Field(
        None, description="The id of the response of `snippets` that it was made from."
    )


class Summary(_OfCandidate):
    """The agent opened, changed or saved a summary or a section of it."""

    type: Literal[Kind.SUMMARY_OPENED, Kind.SUMMARY_CHANGED, Kind.SUMMARY_SAVED]
    section: Section | None = Field(None, description="Left out where it is the whole summary.")
    text: Text | None = None


class EventsBody(BaseModel):
    """A batch of events."""

    model_config = ConfigDict(extra="forbid")

    events: list[
        Annotated[
            Displayed | Inserted | Edited | Sent | Dismissed | Typed | Summary,
            Field(discriminator="type"),
        ]
    ] = Field(min_length=1, max_length=MAX_EVENTS)


def router(db: Database, arrivals: Arrivals, storing: Storing) -> APIRouter:
    """Make the endpoint.

    Args:
        db: The store.
        arrivals: Finds interactions.
        storing: Redacts what is said about redacted interactions.
    """
    routes = APIRouter()

    @routes.post(endpoints.EVENTS)
    async def _events(request: Request, body: EventsBody) -> dict[str, Any]:
        key: ApiKey = request.state.key
        need(key, Role.SERVICE, Role.AGENT, Role.REVIEWER)
        known: dict[str, InteractionRecord] = {}
        given = []
        for number, event in enumerate(body.events):
            try:
                if event.id not in known:
                    known[event.id] = await arrivals.get(event.id, key)
                    scope(key, known[event.id])
                given.append(await storing.event(_record(event, known[event.id], key)))
            except SwitchboardError as exc:
                exc.param = f"events.{number}.{exc.param or 'id'}"
                raise
        new = await events.add(db, given)
        judged = [
            await _judge(one, known[one.interaction_id], key)
            for one in sorted(given, key=lambda one: one.at)
        ]
        return {
            "object": "events",
            "received": len(given),
            "created": new,
            "feedback": sum(judged),
        }

    async def _judge(event: EventRecord, interaction: InteractionRecord, key: ApiKey) -> bool:
        shown = 0
        if event.kind is Kind.TYPED:
            shown = await events.first_shown(db, interaction.id)
        said = events.judgement(event, interaction, shown)
        if said is None or held_as(interaction.guards) is not None:
            return False
        try:
            _, created = await feedback.add(db, said, reviews=key.allows(Role.REVIEWER))
        except (PermissionDenied, Conflict):
            return False
        if created:
            metrics.FEEDBACK.labels(interaction.lob or "").inc()
        return created

    return routes


def _record(
    event: Displayed | Inserted | Edited | Sent | Dismissed | Typed | Summary,
    interaction: InteractionRecord,
    key: ApiKey,
) -> EventRecord:
    named = event.candidates if isinstance(event, Displayed) else [getattr(event, "index", 0)]
    for index in () if isinstance(event, Typed) else named:
        if not candidates.has(interaction, index):
            where = "candidates" if isinstance(event, Displayed) else "index"
            raise InvalidRequest(f"The response has no candidate {index}.", param=where)
    common = {"event_id", "id", "at", "type", "index", "text"}
    return EventRecord(
        event_id=event.event_id,
        key_id=key.id or "",
        interaction_id=event.id,
        index=getattr(event, "index", 0),
        kind=event.type,
        at=event.at,
        text=getattr(event, "text", None),
        detail=event.model_dump(mode="json", exclude=common, exclude_none=True),
    )
