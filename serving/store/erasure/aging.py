"""Rows that have outlived a line's retention: counting them, and deleting them in small batches.

An interaction takes along all that belongs to it. The data key of a conversation goes with the last
of its originals.
"""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config.retention import Retention
from serving.store.database import Database
from serving.store.erasure import tombstones
from serving.store.grades.tables import GradeRow
from serving.store.privacy.tables import Redaction, VaultKey, VaultRow
from serving.store.reviews import removal
from serving.store.reviews.records import Decision, Status
from serving.store.reviews.tables import ReviewRow
from serving.store.tables import Event, Feedback, Interaction, ShadowAnswer

BATCH = 100
"""Interactions whose rows are deleted in one transaction: writers wait for that long at most."""
DAY_S = 86400.0
KINDS = tuple(Retention.model_fields)
_BESIDE: Mapping[str, tuple[Any, Any]] = {
    "feedback": (Feedback, Feedback.created_at),
    "events": (Event, Event.received_at),
    "shadow_answers": (ShadowAnswer, ShadowAnswer.created_at),
    "vault": (VaultRow, Interaction.created_at),
}
"""What lies beside interactions: its table, and the time that its age is counted from."""


def limits(retention: Retention, now: float | None = None) -> dict[str, float]:
    """Return before when rows go, in seconds since the epoch, of each kind that is limited."""
    now = time.time() if now is None else now
    days = retention.model_dump(exclude_none=True)
    return {kind: now - number * DAY_S for kind, number in days.items()}


async def preview(db: Database, lob: str, before: Mapping[str, float]) -> dict[str, int]:
    """Count the rows of a line that would go now, by kind.

    Args:
        db: The store.
        lob: The line of business.
        before: As `limits` gives it.
    """
    whole = _too_old(lob, before)
    found: dict[str, int] = {}
    async with db.reader() as connection:
        of = select(func.count()).select_from(Interaction).where(whole)
        found["interactions"] = (await connection.execute(of)).scalar_one()
        for kind, (table, at) in _BESIDE.items():
            mine = or_(whole, _own(lob, at, before.get(kind)))
            joined = select(func.count()).select_from(table)
            joined = joined.join(Interaction, Interaction.id == table.interaction_id).where(mine)
            found[kind] = (await connection.execute(joined)).scalar_one()
        along = ReviewRow.interaction_id.in_(select(Interaction.id).where(whole))
        tasks = select(func.count()).select_from(ReviewRow)
        tasks = tasks.where(or_(along, _settled(lob, before.get("reviews"))))
        found["reviews"] = (await connection.execute(tasks)).scalar_one()
    return {kind: found[kind] for kind in KINDS}


async def delete_batch(db: Database, lob: str, before: Mapping[str, float]) -> dict[str, int]:
    """Delete some rows of a line that are too old, in one transaction; again takes the next.

    Args:
        db: The store.
        lob: The line of business.
        before: As `limits` gives it.

    Returns:
        How many rows went, by kind; nothing once none is left.
    """
    for kind in KINDS:
        if kind not in before:
            continue
        # Found by a reader, so that writers wait for the deletion only.
        async with db.reader() as connection:
            ids = list((await connection.execute(_next(kind, lob, before))).scalars())
        if not ids:
            continue
        async with db.session() as connection:
            await tombstones.secure(db, connection)
            gone = await _delete(db, connection, kind, ids, before[kind])
        if gone:
            return gone
    return {}


def _next(kind: str, lob: str, before: Mapping[str, float]) -> Select[Any]:
    """The interactions whose rows of a kind are the next to go."""
    if kind == "interactions":
        return select(Interaction.id).where(_too_old(lob, before)).limit(BATCH)
    if kind == "reviews":
        return select(ReviewRow.interaction_id).where(_settled(lob, before[kind])).limit(BATCH)
    table, at = _BESIDE[kind]
    joined = select(table.interaction_id).distinct()
    joined = joined.join(Interaction, Interaction.id == table.interaction_id)
    return joined.where(_own(lob, at, before[kind])).limit(BATCH)


async def _delete(
    db: Database, connection: AsyncConnection, kind: str, ids: list[str], before: float
) -> dict[str, int]:
    gone: dict[str, int] = {}
    whole = kind == "interactions"
    for name, (table, at) in _BESIDE.items():
        if not whole and name != kind:
            continue
        mine = table.interaction_id.in_(ids)
        if name == "vault":
            gone[name] = await _originals(db, connection, mine)
            continue
        old = mine if whole else and_(mine, at < before)
        gone[name] = (await connection.execute(delete(table).where(old))).rowcount
    if whole or kind == "reviews":
        gone["reviews"] = await removal.remove(connection, ids)
    if whole:
        for beside in (Redaction, GradeRow):
            await connection.execute(delete(beside).where(beside.interaction_id.in_(ids)))
        own = delete(Interaction).where(Interaction.id.in_(ids))
        gone["interactions"] = (await connection.execute(own)).rowcount
    return {name: number for name, number in gone.items() if number}


async def _originals(db: Database, connection: AsyncConnection, mine: ColumnElement[bool]) -> int:
    scopes = (await connection.execute(select(VaultRow.scope).distinct().where(mine))).scalars()
    named = sorted(scopes)
    if not named:
        return 0
    if not db.is_sqlite:  # whoever stores at this moment seals by the key that would go
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({tombstones.LOCK})"))
    gone = (await connection.execute(delete(VaultRow).where(mine))).rowcount
    left = exists().where(VaultRow.scope == VaultKey.scope)
    await connection.execute(delete(VaultKey).where(VaultKey.scope.in_(named), ~left))
    return gone


def _too_old(lob: str, before: Mapping[str, float]) -> ColumnElement[bool]:
    return _own(lob, Interaction.created_at, before.get("interactions"))


def _own(lob: str, at: Any, before: float | None) -> ColumnElement[bool]:
    """That a row is a line's, and older than that by its own limit; without one, never."""
    return false() if before is None else and_(Interaction.lob == lob, at < before)


def _settled(lob: str, before: float | None) -> ColumnElement[bool]:
    """That a task ended so long ago; one whose decision is not feedback yet is kept."""
    if before is None:
        return false()
    decided = ReviewRow.state.in_([decision.status for decision in Decision])
    expired = and_(ReviewRow.state == Status.EXPIRED, ReviewRow.final_deadline < before)
    taught = and_(decided, ReviewRow.taught, ReviewRow.decided_at < before)
    return and_(ReviewRow.lob == lob, or_(expired, taught))
