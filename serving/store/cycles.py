"""Cycles of the flywheel, and what people told its scheduler."""

import time
from typing import Any

from sqlalchemy import func, insert, select, update

from serving.errors import Conflict
from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.records import JUDGED_CYCLES, Cycle, CycleState, Flywheel, Json
from serving.store.tables import CycleRow, Feedback, FlywheelRow, Interaction


async def see(db: Database, lob: str) -> Flywheel:
    """Return what people told the scheduler of a line of business; it is known from now on."""
    new = db.insert(FlywheelRow).values(lob=lob, paused=False, forced=False, created_at=time.time())
    async with db.session() as connection:
        await connection.execute(new.on_conflict_do_nothing())
        statement = select(FlywheelRow).where(FlywheelRow.lob == lob)
        row = (await connection.execute(statement)).mappings().one()
    return Flywheel.model_validate(dict(row))


async def told(db: Database, lob: str) -> Flywheel | None:
    """Return what people told the scheduler of a line of business; None where nobody looked yet."""
    statement = select(FlywheelRow).where(FlywheelRow.lob == lob)
    async with db.reader() as connection:
        row = (await connection.execute(statement)).mappings().one_or_none()
    return Flywheel.model_validate(dict(row)) if row else None


async def set_flags(
    db: Database, lob: str, *, paused: bool | None = None, forced: bool | None = None
) -> Flywheel:
    """Pause or resume a line of business, or ask for a cycle now; None leaves as it is."""
    said = {"paused": paused, "forced": forced}
    said = {name: value for name, value in said.items() if value is not None}
    await see(db, lob)
    async with db.session() as connection:
        await connection.execute(update(FlywheelRow).where(FlywheelRow.lob == lob).values(**said))
        await audit.append(connection, None, "flywheel", lob, said)
    return await see(db, lob)


async def begin(db: Database, lob: str, reason: str, term: int) -> Cycle:
    """Begin a cycle, and take back the wish for one.

    Args:
        db: The store.
        lob: The line of business.
        reason: Why now.
        term: Of the lease that is held.

    Raises:
        Conflict: Another is under way, or began at this very moment.
    """
    now = time.time()
    async with db.session() as connection:
        latest = select(CycleRow).where(CycleRow.lob == lob).order_by(CycleRow.number.desc())
        found = (await connection.execute(latest.limit(1))).mappings().one_or_none()
        if found is not None and Cycle.model_validate(dict(found)).is_open:
            raise Conflict(f"cycle {found['number']} of {lob} is under way")
        content: dict[str, Any] = {
            "lob": lob,
            "number": found["number"] + 1 if found is not None else 1,
            "state": CycleState.CURATE.value,
            "reason": reason,
            "feedback_seen": 0,
            "attempts": 0,
            "term": term,
            "log": [],
            "created_at": now,
            "updated_at": now,
        }
        statement = insert(CycleRow).values(content).returning(CycleRow)
        row = (await connection.execute(statement)).mappings().one()
        forget = update(FlywheelRow).where(FlywheelRow.lob == lob).values(forced=False)
        await connection.execute(forget)
    return Cycle.model_validate(dict(row))


async def clear_force(db: Database, lob: str) -> None:
    """Take back the wish for a cycle now: it is being followed."""
    async with db.session() as connection:
        forget = update(FlywheelRow).where(FlywheelRow.lob == lob).values(forced=False)
        await connection.execute(forget)


async def take_over(db: Database, cycle: Cycle, term: int) -> Cycle:
    """Put a cycle under a newer lease; whoever worked on it before can write no more."""
    return await _write(db, cycle, CycleRow.term <= term, {"term": term})


async def save(db: Database, cycle: Cycle, **fields: Any) -> Cycle:
    """Change a cycle's fields.

    Raises:
        Conflict: Another scheduler has taken it over.
    """
    return await _write(db, cycle, CycleRow.term == cycle.term, fields)


async def note(db: Database, cycle: Cycle, text: str, **fields: Any) -> Cycle:
    """Change a cycle's fields, and add a line to its log under its state after that."""
    state = CycleState(fields.get("state", cycle.state))
    entry: Json = {"at": time.time(), "state": state.value, "text": text}
    return await save(db, cycle, **fields, log=[*cycle.log, entry])


async def latest(db: Database, lob: str, n: int = 1) -> list[Cycle]:
    """Return the last `n` cycles of a line of business, newest first."""
    statement = select(CycleRow).where(CycleRow.lob == lob).order_by(CycleRow.number.desc())
    async with db.reader() as connection:
        rows = (await connection.execute(statement.limit(n))).mappings().all()
    return [Cycle.model_validate(dict(row)) for row in rows]


async def new_feedback(db: Database, lob: str) -> tuple[int, int]:
    """Return how much feedback came since the last cycle that was judged, and the newest's id.

    Feedback on answers of upstreams and rules does not count: nothing is learned from it.
    """
    seen = select(func.max(CycleRow.feedback_seen)).where(
        CycleRow.lob == lob, CycleRow.state.in_([state.value for state in JUDGED_CYCLES])
    )
    mine = (
        select(func.count(), func.max(Feedback.id))
        .join(Interaction, Interaction.id == Feedback.interaction_id)
        .where(
            Interaction.lob == lob,
            *interactions.of_models(),
        )
    )
    async with db.reader() as connection:
        since = (await connection.execute(seen)).scalar_one() or 0
        statement = mine.where(Feedback.id > since)
        count, newest = (await connection.execute(statement)).one()
    return int(count), int(newest or since)


async def _write(db: Database, cycle: Cycle, allowed: Any, fields: dict[str, Any]) -> Cycle:
    statement = (
        update(CycleRow)
        .where(CycleRow.id == cycle.id, allowed)
        .values(**fields, updated_at=time.time())
        .returning(CycleRow)
    )
    async with db.session() as connection:
        row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise Conflict(f"cycle {cycle.number} of {cycle.lob} is another scheduler's now")
    return Cycle.model_validate(dict(row))
