"""Interactions: requests with the responses that clients saw."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from serving.store import candidates
from serving.store.database import Database, storable
from serving.store.events import Kind
from serving.store.records import (
    UPSTREAM,
    FeedbackRecord,
    InteractionRecord,
    LabelledInteraction,
    Moment,
    Served,
    Status,
    Task,
)
from serving.store.tables import Event, Feedback, Interaction

CHUNK = 32
"""Rows an INSERT: preparing more of them at once would hold up the event loop for longer."""

_SERVED = [name for name in Served.model_fields if hasattr(Interaction, name)]
_GOES_OUT = (Kind.SENT, Kind.TYPED, Kind.SUMMARY_SAVED)


async def save(db: Database, records: Sequence[InteractionRecord]) -> int:
    """Store interactions in one transaction; those already stored are left as they are.

    Returns:
        How many were new.
    """
    if not records:
        return 0
    statement = db.insert(Interaction).on_conflict_do_nothing().returning(Interaction.id)
    records = sorted(records, key=lambda record: record.id)  # one order for all: no deadlocks
    new = 0
    async with db.session() as connection:
        for start in range(0, len(records), CHUNK):
            rows = [_row(record) for record in records[start : start + CHUNK]]
            new += len((await connection.execute(statement, rows)).all())
    return new


async def get(db: Database, id: str) -> InteractionRecord | None:  # noqa: A002
    """Return one interaction, or None if there is none of this id."""
    async with db.reader() as connection:
        rows = await connection.execute(select(Interaction).where(Interaction.id == id))
        row = rows.mappings().one_or_none()
    return InteractionRecord.model_validate(dict(row)) if row else None


async def labelled(
    db: Database,
    *,
    lob: str,
    since: float | None = None,
    until: float | None = None,
    tasks: Collection[Task | str] | None = None,
) -> list[LabelledInteraction]:
    """Return the interactions that have feedback, oldest first.

    Answers of upstreams are left out: they are another model's, so they neither show how good a
    version is nor are ours to train on.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest `created_at`, itself included.
        until: The latest `created_at`, itself excluded.
        tasks: The tasks to keep; None keeps all.
    """
    wanted: list[ColumnElement[bool]] = [
        Interaction.lob == lob,
        func.coalesce(Interaction.version, "").not_like(f"{UPSTREAM}%"),
    ]
    if since is not None:
        wanted.append(Interaction.created_at >= since)
    if until is not None:
        wanted.append(Interaction.created_at < until)
    if tasks is not None:
        wanted.append(Interaction.task.in_([str(task) for task in tasks]))
    comments = (
        select(Feedback)
        .join(Interaction, Interaction.id == Feedback.interaction_id)
        .where(*wanted)
        .order_by(Feedback.id)
    )
    commented = (
        select(Interaction)
        .where(*wanted, Interaction.id.in_(select(Feedback.interaction_id)))
        .order_by(Interaction.created_at, Interaction.id)
    )
    feedback: defaultdict[str, list[FeedbackRecord]] = defaultdict(list)
    async with db.reader() as connection:
        for row in (await connection.execute(comments)).mappings():
            feedback[row["interaction_id"]].append(FeedbackRecord.model_validate(dict(row)))
        interactions = (await connection.execute(commented)).mappings().all()
    return [
        LabelledInteraction(
            interaction=InteractionRecord.model_validate(dict(row)),
            feedback=tuple(feedback[row["id"]]),
        )
        for row in interactions
        if row["id"] in feedback  # else its first feedback came between the two queries
    ]


async def served(db: Database, *, lob: str, since: float) -> list[Served]:
    """Return what a line of business was answered, oldest first, with feedback and events if any.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest `created_at`, itself included.
    """
    wanted = Interaction.lob == lob, Interaction.created_at >= since
    columns = [getattr(Interaction, name) for name in _SERVED]
    answers = select(*columns).where(*wanted).order_by(Interaction.created_at, Interaction.id)
    comments = (
        select(Feedback)
        .join(Interaction, Interaction.id == Feedback.interaction_id)
        .where(*wanted)
        .order_by(Feedback.id)
    )
    several = select(Feedback.interaction_id).where(Feedback.index > 0)
    whole = select(Interaction.id, Interaction.response).where(*wanted, Interaction.id.in_(several))
    acts = (
        select(Event.interaction_id, Event.kind, Event.at, Event.received_at, Event.detail)
        .join(Interaction, Interaction.id == Event.interaction_id)
        .where(*wanted, Event.kind.in_((Kind.DISPLAYED, *_GOES_OUT)))
    )
    feedback: defaultdict[str, list[FeedbackRecord]] = defaultdict(list)
    known: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    async with db.reader() as connection:
        for row in (await connection.execute(comments)).mappings():
            feedback[row["interaction_id"]].append(FeedbackRecord.model_validate(dict(row)))
        for id_, kind, at, received_at, detail in await connection.execute(acts):
            if kind != Kind.SUMMARY_SAVED or "section" not in detail:
                _learn(known[id_], kind, (at, received_at))
        rows = (await connection.execute(answers)).mappings().all()
        responses = {row.id: candidates.of(row.response) for row in await connection.execute(whole)}
    return [
        Served(
            **row,
            **known.get(row["id"], {}),
            feedback=tuple(feedback[row["id"]]),
            others={k: one.output for k, one in responses.get(row["id"], {}).items() if k > 0},
        )
        for row in rows
    ]


async def shown(
    db: Database, *, lob: str, since: float, tasks: Collection[Task | str]
) -> list[tuple[str, float, int]]:
    """Return each conversation's id, begin and number of complete answers, judged or not.

    Answers of upstreams, and those outside conversations, are left out, as in `labelled`; and so
    are those that were held back, unless their turn's text is known all the same.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest begin, itself included.
        tasks: The tasks to count.
    """
    wanted = (
        Interaction.lob == lob,
        Interaction.conversation_id.is_not(None),
        Interaction.conversation_id != "",
        Interaction.status == Status.COMPLETED,
        Interaction.task.in_([str(task) for task in tasks]),
        func.coalesce(Interaction.version, "").not_like(f"{UPSTREAM}%"),
        or_(
            Interaction.shown_by_draw.is_not(False),
            Interaction.id.in_(select(Feedback.interaction_id)),
        ),
    )
    begin = func.min(Interaction.created_at)
    statement = (
        select(Interaction.conversation_id, begin, func.count())
        .where(*wanted)
        .group_by(Interaction.conversation_id)
        .having(begin >= since)
    )
    async with db.reader() as connection:
        return [(row[0] or "", row[1], row[2]) for row in await connection.execute(statement)]


async def count(db: Database, lob: str | None = None) -> int:
    """Return how many interactions there are, in all or of one line of business."""
    statement = select(func.count()).select_from(Interaction)
    if lob is not None:
        statement = statement.where(Interaction.lob == lob)
    async with db.reader() as connection:
        return (await connection.execute(statement)).scalar_one()


def _learn(known: dict[str, Any], kind: str, when: Moment) -> None:
    """Add what an event says to what is known of its answer; first is first by each clock."""
    name = "displayed" if kind == Kind.DISPLAYED else "went_out"
    first = known.get(name, when)
    known[name] = min(first[0], when[0]), min(first[1], when[1])
    if kind == Kind.TYPED:
        known["typed"] = True


def _row(record: InteractionRecord) -> dict[str, Any]:
    row = record.model_dump()
    return {name: storable(value) if type(value) is str else value for name, value in row.items()}
