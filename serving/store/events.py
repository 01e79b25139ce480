"""Events: what an agent did with a response, step by step, as the agent's desktop tells it.

An event is kept as it came and never changed. Some also judge: `judgement` says what feedback one
is the same as, so that whatever reads feedback needs to know of no events.
"""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from pydantic import Field
from sqlalchemy import select

from serving.errors import Conflict
from serving.store import candidates
from serving.store.database import Database, storable
from serving.store.records import Count, FeedbackRecord, InteractionRecord, Json, Record
from serving.store.tables import Event

_SAME = ("interaction_id", "index", "kind", "at", "text", "detail")


class Kind(StrEnum):
    """What happened."""

    DISPLAYED = "displayed"
    INSERTED = "inserted"
    EDITED = "edited"
    SENT = "sent"
    DISMISSED = "dismissed"
    TYPED = "typed"
    SUMMARY_OPENED = "summary.opened"
    SUMMARY_CHANGED = "summary.changed"
    SUMMARY_SAVED = "summary.saved"


class EventRecord(Record):
    """One event; `at` is the client's clock, `received_at` ours.

    `text` is what the agent had written then; `detail` holds what only this kind has.
    """

    event_id: str = Field(min_length=1)
    key_id: str = ""
    interaction_id: str
    index: Count = 0
    kind: Kind
    at: float
    received_at: float = Field(default_factory=time.time)
    text: str | None = None
    detail: Json = Field(default_factory=dict)


async def add(db: Database, events: Sequence[EventRecord]) -> int:
    """Store events of one key, all or none; those that are stored already change nothing.

    Returns:
        How many were new.

    Raises:
        Conflict: An event's id came before with other content.
    """
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        row = _row(event)
        first = rows.setdefault(row["event_id"], row)
        if any(first[name] != row[name] for name in _SAME):
            raise _conflict(event.event_id)
    known = select(Event).where(
        Event.key_id.in_({row["key_id"] for row in rows.values()}), Event.event_id.in_(rows)
    )
    async with db.session() as connection:
        for stored in (await connection.execute(known)).mappings():
            row = rows.pop(stored["event_id"])
            if any(stored[name] != row[name] for name in _SAME):
                raise _conflict(stored["event_id"])
        if not rows:
            return 0
        insert = db.insert(Event).on_conflict_do_nothing().returning(Event.id)
        return len((await connection.execute(insert, list(rows.values()))).all())


async def first_shown(db: Database, id: str) -> int:  # noqa: A002
    """Return the candidate that stood first on the screen; 0 where no event tells."""
    statement = (
        select(Event.detail)
        .where(Event.interaction_id == id, Event.kind == Kind.DISPLAYED)
        .order_by(Event.at, Event.id)
        .limit(1)
    )
    async with db.reader() as connection:
        detail = (await connection.execute(statement)).scalar_one_or_none()
    return int(detail["candidates"][0]) if detail else 0


async def for_interaction(db: Database, id: str) -> list[EventRecord]:  # noqa: A002
    """Return an interaction's events in the order of the clients' clocks."""
    columns = [getattr(Event, name) for name in EventRecord.model_fields]
    statement = select(*columns).where(Event.interaction_id == id).order_by(Event.at, Event.id)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [EventRecord.model_validate(dict(row)) for row in rows]


def judgement(
    event: EventRecord, interaction: InteractionRecord, shown: int = 0
) -> FeedbackRecord | None:
    """Return the feedback that an event is the same as; None if it judges nothing.

    What was sent as it was suggested was used; what was sent otherwise is an edit. A section of a
    summary is not the summary, so saving one alone judges nothing. What was typed without any
    candidate is the turn's final text, and says that the candidate was not used, however alike.

    Args:
        event: What happened.
        interaction: The answer it happened to.
        shown: The candidate that stood first on the screen; of `typed`, which names none.
    """
    said: dict[str, Any]
    saved = event.kind is Kind.SUMMARY_SAVED and "section" not in event.detail
    if event.text is not None and (event.kind is Kind.SENT or saved):
        output = interaction.output
        if event.index:
            output = candidates.of(interaction.response)[event.index].output
        same = event.text.strip() == output.strip()
        said = {"used": True} if same else {"edit": event.text}
    elif event.kind is Kind.TYPED:
        said = {"edit": event.text, "used": False}
    elif event.kind is Kind.INSERTED:
        said = {"used": True}
    elif event.kind is Kind.DISMISSED:
        said = {"rejected": True}
    else:
        return None
    # By our clock: what a comparison of versions has counted must not change with a late event.
    return FeedbackRecord(
        interaction_id=event.interaction_id,
        client_key=f"event:{event.event_id}",
        key_id=event.key_id,
        created_at=event.received_at,
        index=shown if event.kind is Kind.TYPED else event.index,
        **said,
    )


def _row(event: EventRecord) -> dict[str, Any]:
    row = event.model_dump(mode="json")
    text = {name: storable(row[name]) for name in ("event_id", "text") if row[name] is not None}
    return row | text


def _conflict(event_id: str) -> Conflict:
    return Conflict(
        f"the event {event_id!r} was sent before with other content: use a new id for each",
        param="event_id",
    )
