"""What is told of a job: its events and its checkpoints."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.errors import Conflict
from serving.store.database import Database
from serving.store.jobs.records import JobCheckpoint, JobEvent
from serving.store.jobs.state import JobState
from serving.store.jobs.tables import JobCheckpointRow, JobEventRow, JobRow
from serving.store.leases import now


async def append(
    db: Database, connection: AsyncConnection, job_id: str, events: Sequence[JobEvent]
) -> int:
    """Note events in the transaction of what they tell; returns how many were new.

    They get numbers in their order.
    """
    new = 0
    for event in events:
        row = event.model_dump(exclude={"number"}) | {"job_id": job_id, "created_at": now(db)}
        statement = db.insert(JobEventRow).values(row).on_conflict_do_nothing()
        done = await connection.execute(statement.returning(JobEventRow.number))
        new += done.first() is not None
    return new


async def tell(
    db: Database,
    job_id: str,
    term: int,
    events: Sequence[JobEvent] = (),
    checkpoints: Sequence[JobCheckpoint] = (),
    **changes: Any,
) -> None:
    """Note what a runner has done; what was told before is left as it is.

    Args:
        db: The store.
        job_id: The job.
        term: Of the runner's lease.
        events: In their order; a new one of the kind metrics shows that the job gets on.
        checkpoints: Steps with their metrics, which may be told again with more of them.
        changes: Columns of the job.

    Raises:
        Conflict: The job is another runner's, or was cancelled or paused.
    """
    mine = (JobRow.id == job_id) & (JobRow.term == term)
    mine &= JobRow.status == JobState.RUNNING.value
    async with db.session() as connection:
        if (await connection.execute(select(JobRow.id).where(mine).with_for_update())).first():
            steps = [one for one in events if one.kind == "metrics"]
            if await append(db, connection, job_id, steps):
                changes["attempts"] = 0
            await append(db, connection, job_id, [one for one in events if one.kind != "metrics"])
            for one in checkpoints:
                row = one.model_dump() | {"job_id": job_id, "created_at": now(db)}
                statement = db.insert(JobCheckpointRow).values(row)
                await connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=[JobCheckpointRow.job_id, JobCheckpointRow.step],
                        set_={"metrics": statement.excluded.metrics},
                    )
                )
            if changes:
                await connection.execute(update(JobRow).where(mine).values(changes))
            return
    raise Conflict(f"The job {job_id} is no longer this runner's.")


async def events(
    db: Database,
    job_id: str,
    *,
    before: int | None = None,
    since: int | None = None,
    limit: int = 20,
) -> tuple[list[JobEvent], bool]:
    """Return a job's events, and whether there are more of them.

    Args:
        db: The store.
        job_id: The job.
        before: Only those with lower numbers.
        since: Only those with higher numbers, and then the oldest come first; else the newest do.
        limit: The most that are returned.
    """
    mine = select(JobEventRow).where(JobEventRow.job_id == job_id)
    if since is not None:
        mine = mine.where(JobEventRow.number > since)
    if before is not None:
        mine = mine.where(JobEventRow.number < before)
    order = JobEventRow.number.desc() if since is None else JobEventRow.number.asc()
    async with db.reader() as connection:
        rows = (await connection.execute(mine.order_by(order).limit(limit + 1))).mappings().all()
    found = [JobEvent.model_validate({k: v for k, v in r.items() if k != "job_id"}) for r in rows]
    return found[:limit], len(found) > limit


async def checkpoints(
    db: Database, job_id: str, *, below: int | None = None, limit: int = 10
) -> tuple[list[JobCheckpoint], bool]:
    """Return a job's checkpoints, the last step first, and whether there are more.

    Args:
        db: The store.
        job_id: The job.
        below: Only those of lower steps.
        limit: The most that are returned.
    """
    mine = select(JobCheckpointRow).where(JobCheckpointRow.job_id == job_id)
    if below is not None:
        mine = mine.where(JobCheckpointRow.step < below)
    mine = mine.order_by(JobCheckpointRow.step.desc()).limit(limit + 1)
    async with db.reader() as connection:
        rows = (await connection.execute(mine)).mappings().all()
    found = [
        JobCheckpoint.model_validate({k: v for k, v in r.items() if k != "job_id"}) for r in rows
    ]
    return found[:limit], len(found) > limit
