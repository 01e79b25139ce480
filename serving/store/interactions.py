"""Interactions: requests with the responses that clients saw."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container, Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store import candidates
from serving.store.database import Database, storable
from serving.store.events import Kind
from serving.store.records import (
    ABSTAINED,
    RULE,
    UPSTREAM,
    FeedbackRecord,
    InteractionRecord,
    LabelledInteraction,
    Moment,
    Served,
    Status,
    Task,
)
from serving.store.reviews.records import held_as
from serving.store.tables import Event, Feedback, Interaction

CHUNK = 32
"""Rows an INSERT: preparing more of them at once would hold up the event loop for longer."""

PAGE = 500
"""Rows that a stream reads at once: a few MB."""

_SERVED = [name for name in Served.model_fields if hasattr(Interaction, name)]
_GOES_OUT = (Kind.SENT, Kind.TYPED, Kind.SUMMARY_SAVED)


async def save(
    db: Database,
    records: Sequence[InteractionRecord],
    beside: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    without: Callable[[AsyncConnection], Awaitable[Container[str]]] | None = None,
) -> int:
    """Store interactions in one transaction; those already stored are left as they are.

    Args:
        db: The store.
        records: The interactions.
        beside: Stores what belongs to them, in the same transaction.
        without: Says, first in that transaction, which ids are not to be stored.

    Returns:
        How many were new.
    """
    if not records:
        return 0
    statement = db.insert(Interaction).on_conflict_do_nothing().returning(Interaction.id)
    records = sorted(records, key=lambda record: record.id)  # one order for all: no deadlocks
    new = 0
    async with db.session() as connection:
        if without is not None:
            refused = await without(connection)
            records = [record for record in records if record.id not in refused]
        for start in range(0, len(records), CHUNK):
            rows = [_row(record) for record in records[start : start + CHUNK]]
            new += len((await connection.execute(statement, rows)).all())
        if beside is not None:
            await beside(connection)
    return new


async def get(db: Database, id: str) -> InteractionRecord | None:  # noqa: A002
    """Return one interaction, or None if there is none of this id."""
    async with db.reader() as connection:
        rows = await connection.execute(select(Interaction).where(Interaction.id == id))
        row = rows.mappings().one_or_none()
    return InteractionRecord.model_validate(dict(row)) if row else None


def of_models() -> list[ColumnElement[bool]]:
    """Ask for answers of our engine: none of an upstream, and none of a rule."""
    version = func.coalesce(Interaction.version, "")
    return [version.not_like(f"{UPSTREAM}%"), version.not_like(f"{RULE}%")]


async def labelled(
    db: Database,
    *,
    lob: str,
    since: float | None = None,
    until: float | None = None,
    tasks: Collection[Task | str] | None = None,
) -> list[LabelledInteraction]:
    """Return what `stream` yields, all at once."""
    pages = stream(db, lob=lob, since=since, until=until, tasks=tasks)
    return [item async for item in pages]


async def stream(
    db: Database,
    *,
    lob: str,
    since: float | None = None,
    until: float | None = None,
    tasks: Collection[Task | str] | None = None,
    page: int = PAGE,
    judged: bool = True,
) -> AsyncIterator[LabelledInteraction]:
    """Yield the interactions that have feedback, oldest first, a page in memory at a time.

    Each page is read by itself, from where the last one ended (keyset pagination), so no
    transaction lasts longer than a page. What comes meanwhile is in the stream or not; a row is
    in it once, with all the feedback that it had when it was read.

    Answers of upstreams and rules are left out: they neither show how good a version is nor are
    ours to train on.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest `created_at`, itself included.
        until: The latest `created_at`, itself excluded.
        tasks: The tasks to keep; None keeps all.
        page: Rows a page.
        judged: False yields those without feedback, too.
    """
    wanted: list[ColumnElement[bool]] = [Interaction.lob == lob, *of_models()]
    if judged:  # not `id IN (SELECT …)`: SQLite would make that list anew for every page
        wanted.append(exists().where(Feedback.interaction_id == Interaction.id))
    if since is not None:
        wanted.append(Interaction.created_at >= since)
    if until is not None:
        wanted.append(Interaction.created_at < until)
    if tasks is not None:
        wanted.append(Interaction.task.in_([str(task) for task in tasks]))
    key = Interaction.created_at, Interaction.id
    statement = select(Interaction).where(*wanted).order_by(*key).limit(page)
    after: list[ColumnElement[bool]] = []
    while True:
        async with db.reader() as connection:
            rows = (await connection.execute(statement.where(*after))).mappings().all()
            found = await _with_feedback(connection, rows)
        for one in found:
            if one.feedback or not judged:  # a row without has none, or it went meanwhile
                yield one
        if len(rows) < page:
            return
        at, id_ = rows[-1]["created_at"], rows[-1]["id"]
        # The first condition is implied by the second; an index is found by it.
        after = [Interaction.created_at >= at, tuple_(*key) > tuple_(at, id_)]


async def named(db: Database, ids: Collection[str]) -> list[LabelledInteraction]:
    """Return the interactions of these ids, a page of them at most, that have feedback."""
    # Not by line as well: SQLite would rather read the whole line.
    statement = select(Interaction).where(Interaction.id.in_(ids), *of_models())
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
        found = [one for one in await _with_feedback(connection, rows) if one.feedback]
    return sorted(found, key=lambda one: (one.interaction.created_at, one.interaction.id))


async def _with_feedback(
    connection: AsyncConnection, rows: Sequence[RowMapping]
) -> list[LabelledInteraction]:
    mine = Feedback.interaction_id.in_([row["id"] for row in rows])
    comments = select(Feedback).where(mine).order_by(Feedback.id)
    said: defaultdict[str, list[FeedbackRecord]] = defaultdict(list)
    for row in (await connection.execute(comments)).mappings():
        said[row["interaction_id"]].append(FeedbackRecord.model_validate(dict(row)))
    of = [(InteractionRecord.model_validate(dict(row)), said[row["id"]]) for row in rows]
    return [LabelledInteraction(interaction=one, feedback=tuple(all_)) for one, all_ in of]


async def served(db: Database, *, lob: str, since: float) -> list[Served]:
    """Return what models answered a line, oldest first, with feedback and events if any.

    Insights are left out: nobody is shown them as a text to use or to edit.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest `created_at`, itself included.
    """
    no_rule = func.coalesce(Interaction.version, "").not_like(f"{RULE}%")  # the same in each arm
    seen = Interaction.task != Task.INSIGHT
    wanted = Interaction.lob == lob, Interaction.created_at >= since, no_rule, seen
    columns = [Interaction.guards, *(getattr(Interaction, name) for name in _SERVED)]
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
            **{name: value for name, value in row.items() if name != "guards"},
            held=held_as(row["guards"]) is not None,
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
    are those that abstained or were held back, unless the turn's text is known all the same.

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
        func.coalesce(Interaction.finish_reason, "") != ABSTAINED,
        Interaction.task.in_([str(task) for task in tasks]),
        *of_models(),
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


async def count(
    db: Database, lob: str | None = None, *, since: float | None = None, outside: bool = False
) -> int:
    """Return how many interactions there are, in all or of one line of business.

    Args:
        db: The store.
        lob: The line of business; None counts all.
        since: The earliest `created_at`, itself included.
        outside: Count only those without a conversation id.
    """
    statement = select(func.count()).select_from(Interaction)
    if lob is not None:
        statement = statement.where(Interaction.lob == lob)
    if since is not None:
        statement = statement.where(Interaction.created_at >= since)
    if outside:
        statement = statement.where(func.coalesce(Interaction.conversation_id, "") == "")
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
