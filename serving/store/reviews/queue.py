"""Tasks of the review queue: made, claimed, decided, each by one statement that compares and sets.

Times are the database's, so replicas agree on who holds a claim and what is overdue; an open task
past its last deadline is expired for every statement here, swept or not. Each act is one
transaction with its event and its audit entry. The counter's row is locked last, so nobody waits
for a task while holding it.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.errors import Conflict, NotFound
from serving.store import audit, leases
from serving.store.database import Database
from serving.store.records import Json
from serving.store.reviews.records import (
    OPEN,
    Decision,
    EventKind,
    NewReview,
    Review,
    Status,
)
from serving.store.reviews.tables import ReviewCounterRow, ReviewEventRow, ReviewRow

COUNTER = "events"
PAGE = 100


async def create(db: Database, new: NewReview) -> Review:
    """Store a task; it is durable when this returns.

    Raises:
        Conflict: There is one of this id or interaction.
        StoreUnavailable: The store does not answer; there is no task.
    """
    now = leases.now(db)
    row = new.model_dump(exclude={"deadline_s", "escalation_s"})
    row |= {
        "created_at": now,
        "deadline": now + new.deadline_s,
        "final_deadline": now + new.deadline_s + new.escalation_s,
        "changed": 0,
        "state": OPEN,
        "term": 0,
        "taught": False,
    }
    async with db.session() as connection:
        await connection.execute(db.insert(ReviewRow).values(row))
        await _note(db, connection, new.id, EventKind.CREATED, None, {"kinds": new.kinds})
        return await _read(db, connection, new.id)


async def get(db: Database, id: str) -> Review:  # noqa: A002
    """Return a task; raises NotFound."""
    async with db.reader() as connection:
        return await _read(db, connection, id)


async def find(
    db: Database,
    *,
    lobs: tuple[str, ...] | None = None,
    status: Status | None = None,
    after: int = 0,
    limit: int = PAGE,
) -> list[Review]:
    """Return tasks by their last change, the longest unchanged first.

    Args:
        db: The store.
        lobs: Of these lines; None: of all.
        status: Only those that stand so now.
        after: Only those that changed after the event of this number.
        limit: At most so many.
    """
    now = leases.now(db)
    statement = select(ReviewRow, now.label("now")).where(ReviewRow.changed > after)
    if lobs is not None:
        statement = statement.where(ReviewRow.lob.in_(lobs))
    if status is not None:
        statement = statement.where(_is(db, status))
    async with db.reader() as connection:
        rows = await connection.execute(statement.order_by(ReviewRow.changed).limit(limit))
        return [Review.model_validate(dict(row)) for row in rows.mappings()]


async def claim(
    db: Database,
    id: str,  # noqa: A002
    key_id: str,
    lease_s: float,
    term: int | None = None,
) -> Review:
    """Take a task that is free, or with its term hold it for longer.

    Args:
        db: The store.
        id: The task.
        key_id: Who takes it.
        lease_s: It is free again so many seconds from now.
        term: Of the claim that is to last longer.

    Raises:
        NotFound: There is no such task.
        Conflict: Another claim holds it, or it is decided or expired.
    """
    free = or_(_is(db, Status.PENDING), _is(db, Status.ESCALATED))
    fresh: dict[str, Any] = {"claimed_by": key_id, "claim_until": leases.now(db) + lease_s}
    if term is None:
        kind, condition = EventKind.CLAIMED, free
        fresh["term"] = ReviewRow.term + 1
    else:
        kind, condition = EventKind.RENEWED, _held(db, key_id, term)
    return await _change(db, id, condition, fresh, kind, key_id, {"lease_s": lease_s})


async def release(db: Database, id: str, key_id: str, term: int | None = None) -> Review:  # noqa: A002
    """Give a claimed task back; raises as `claim`, Conflict where the claim is not theirs."""
    fresh = {"claimed_by": None, "claim_until": None}
    return await _change(db, id, _held(db, key_id, term), fresh, EventKind.RELEASED, key_id, {})


async def decide(
    db: Database,
    id: str,  # noqa: A002
    key_id: str,
    decision: Decision,
    outcome: bytes,
    term: int | None = None,
) -> Review:
    """Decide a claimed task, once and for all.

    Args:
        db: The store.
        id: The task.
        key_id: Who decides, and holds the claim.
        decision: What they say.
        outcome: JSON of the final text and the reason; may be sealed.
        term: Of the claim, where several people share the key.

    Raises:
        NotFound: There is no such task.
        Conflict: The claim is another's or over, or it is decided or expired.
    """
    fresh = {
        "state": decision.status,
        "decided_by": key_id,
        "decided_at": leases.now(db),
        "claimed_by": None,
        "claim_until": None,
        "outcome": outcome,
    }
    kind = EventKind(decision.status)
    return await _change(db, id, _held(db, key_id, term), fresh, kind, key_id, {})


async def due(db: Database) -> list[str]:
    """Return tasks for which time has done something that is not noted yet."""
    conditions = [condition for condition, _, _ in _overdue(db)]
    statement = select(ReviewRow.id).where(or_(*conditions)).order_by(ReviewRow.id).limit(PAGE)
    async with db.reader() as connection:
        return list((await connection.execute(statement)).scalars())


async def advance(db: Database, id: str) -> list[EventKind]:  # noqa: A002
    """Note what time has done with a task; nothing where it is noted already.

    Of several sweeps at once each finding is one's.
    """
    noted = []
    for condition, fresh, kind in _overdue(db):
        try:
            await _change(db, id, condition, fresh, kind, None, {})
        except Conflict:
            continue
        noted.append(kind)
    return noted


async def untaught(db: Database) -> list[Review]:
    """Return decided tasks whose decision is not feedback yet."""
    statement = select(ReviewRow, leases.now(db).label("now")).where(
        ReviewRow.state.in_([decision.status for decision in Decision]), ReviewRow.taught.is_(False)
    )
    async with db.reader() as connection:
        rows = await connection.execute(statement.order_by(ReviewRow.changed).limit(PAGE))
        return [Review.model_validate(dict(row)) for row in rows.mappings()]


async def taught(db: Database, id: str) -> None:  # noqa: A002
    """Note that a decision is feedback now, or never can be."""
    async with db.session() as connection:
        await connection.execute(update(ReviewRow).where(ReviewRow.id == id).values(taught=True))


async def depths(db: Database) -> dict[str, int]:
    """Return how many tasks wait for a decision, by line."""
    waiting = and_(ReviewRow.state == OPEN, ReviewRow.final_deadline > leases.now(db))
    statement = select(ReviewRow.lob, func.count()).where(waiting).group_by(ReviewRow.lob)
    async with db.reader() as connection:
        return {row[0]: row[1] for row in await connection.execute(statement)}


def _overdue(db: Database) -> list[tuple[ColumnElement[bool], dict[str, Any], EventKind]]:
    now = leases.now(db)
    free = {"claimed_by": None, "claim_until": None}
    alive = and_(ReviewRow.state == OPEN, ReviewRow.final_deadline > now)
    unnoted = and_(ReviewRow.deadline <= now, ReviewRow.escalated_at.is_(None))
    over = and_(ReviewRow.state == OPEN, ReviewRow.final_deadline <= now)
    return [
        (and_(alive, ReviewRow.claim_until <= now), free, EventKind.LAPSED),
        (and_(alive, unnoted), {"escalated_at": now}, EventKind.ESCALATED),
        (over, {"state": Status.EXPIRED, **free}, EventKind.EXPIRED),
    ]


def _is(db: Database, status: Status) -> ColumnElement[bool]:
    """The condition that a task stands so now: `Review.status` in SQL."""
    now = leases.now(db)
    alive = and_(ReviewRow.state == OPEN, ReviewRow.final_deadline > now)
    free = or_(ReviewRow.claim_until.is_(None), ReviewRow.claim_until <= now)
    match status:
        case Status.PENDING:
            return and_(alive, free, ReviewRow.deadline > now)
        case Status.ESCALATED:
            return and_(alive, free, ReviewRow.deadline <= now)
        case Status.CLAIMED:
            return and_(alive, ReviewRow.claim_until > now)
        case Status.EXPIRED:
            over = and_(ReviewRow.state == OPEN, ReviewRow.final_deadline <= now)
            return or_(ReviewRow.state == status, over)
    return ReviewRow.state == status


def _held(db: Database, key_id: str, term: int | None) -> ColumnElement[bool]:
    mine = and_(_is(db, Status.CLAIMED), ReviewRow.claimed_by == key_id)
    return mine if term is None else and_(mine, ReviewRow.term == term)


async def _change(
    db: Database,
    id_: str,
    condition: ColumnElement[bool],
    fresh: dict[str, Any],
    kind: EventKind,
    key_id: str | None,
    detail: Json,
) -> Review:
    statement = update(ReviewRow).where(ReviewRow.id == id_, condition).values(fresh)
    async with db.session() as connection:
        changed = await connection.execute(statement.returning(ReviewRow.id))
        if changed.first() is None:
            stands = (await _read(db, connection, id_)).status
            raise Conflict(_why(kind, stands), param="id")
        await _note(db, connection, id_, kind, key_id, detail)
        return await _read(db, connection, id_)


def _why(kind: EventKind, stands: Status) -> str:
    if stands is Status.CLAIMED:
        return "The task is claimed by another key, or by another claim of this key."
    if stands.final:
        return f"The task is {stands} already."
    return (
        f"The task is {stands}: claim it first."
        if kind is not EventKind.CLAIMED
        else ("The task has just changed hands: try again.")
    )


async def _note(
    db: Database,
    connection: AsyncConnection,
    id_: str,
    kind: EventKind,
    key_id: str | None,
    detail: Json,
) -> None:
    start = db.insert(ReviewCounterRow).values(name=COUNTER, last=1)
    counted = start.on_conflict_do_update(
        index_elements=[ReviewCounterRow.name], set_={"last": ReviewCounterRow.last + 1}
    ).returning(ReviewCounterRow.last)
    number = (await connection.execute(counted)).scalar_one()
    change = update(ReviewRow).where(ReviewRow.id == id_).values(changed=number)
    lob = (await connection.execute(change.returning(ReviewRow.lob))).scalar_one()
    event = {"number": number, "review_id": id_, "lob": lob, "kind": kind, "key_id": key_id}
    event |= {"at": leases.now(db), "detail": detail}
    await connection.execute(db.insert(ReviewEventRow).values(event))
    await audit.append(connection, key_id, f"review_{kind}", id_, {"lob": lob, **detail})


async def _read(db: Database, connection: AsyncConnection, id_: str) -> Review:
    statement = select(ReviewRow, leases.now(db).label("now")).where(ReviewRow.id == id_)
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no review {id_[:128]}.", param="id")
    return Review.model_validate(dict(row))
