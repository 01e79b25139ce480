"""Fine-tuning jobs: every change of state compares and sets, with its event in one transaction.

A runner works on a job under a lease, and writes by the lease's term: one that lost it, or whose
job was cancelled or paused, writes nothing more.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, cast, delete, func, insert, select, text, update

from serving.errors import Conflict, NotFound, RateLimited
from serving.store import audit
from serving.store.database import Database
from serving.store.files.tables import FileRow
from serving.store.jobs import progress
from serving.store.jobs.records import JobEvent, JobRecord
from serving.store.jobs.state import OVER, JobState, Step, Waiting, after, before, refusal
from serving.store.jobs.tables import JobRow
from serving.store.leases import now
from serving.store.records import Json
from serving.store.tables import LeaseRow

_LEASE = "@job/"  # no line of business can be called so
_QUOTA_LOCK = 0x5B_10B5
_OVER = [state.value for state in OVER]


def lease(id_: str) -> str:
    """Return the name of a job's lease."""
    return f"{_LEASE}{id_}"


async def create(db: Database, job: JobRecord, limit: int | None) -> JobRecord:
    """Make a job, whose files are to be validated next.

    Args:
        db: The store.
        job: Who asks, and for what.
        limit: The jobs of its key that may be unfinished, this one included; None: any number.

    Raises:
        RateLimited: The key has as many.
        Conflict: A file is gone.
    """
    wanted = {job.training_file, job.validation_file} - {None}
    there = select(FileRow.id).where(FileRow.id.in_(wanted), FileRow.state == "processed")
    async with db.session() as connection:
        if len((await connection.execute(there.with_for_update())).all()) < len(wanted):
            raise Conflict("A file of the job was deleted meanwhile.", param="training_file")
        if limit is not None:
            if not db.is_sqlite:  # two requests at once must see each other
                lock = text("SELECT pg_advisory_xact_lock(:lock)")
                await connection.execute(lock, {"lock": _QUOTA_LOCK})
            mine = select(func.count()).where(
                JobRow.key_id == job.key_id, JobRow.status.not_in(_OVER)
            )
            if (await connection.scalar(mine) or 0) >= limit:
                raise RateLimited(
                    f"This key has {limit} fine-tuning jobs that have not ended, and no more may "
                    "wait (fine_tuning.max_unfinished). Cancel one, or wait."
                )
        values = job.model_dump(mode="json") | {"created_at": now(db)}
        await connection.execute(insert(JobRow).values(values))
        await progress.append(
            db, connection, job.id, [JobEvent(message=f"Created fine-tuning job: {job.id}")]
        )
        detail = {"lob": job.lob, "training_file": job.training_file, "method": job.method["type"]}
        await audit.append(connection, job.key_id or None, "create_job", job.id, detail)
    return await get(db, job.id)


async def get(db: Database, id_: str, lobs: Sequence[str] | None = None) -> JobRecord:
    """Return a job of these lines; None is every line, and so is "*".

    Raises:
        NotFound: There is none, or it is another line's.
    """
    async with db.reader() as connection:
        row = (await connection.execute(select(JobRow).where(JobRow.id == id_))).mappings().first()
    if row is None or not (lobs is None or "*" in lobs or row["lob"] in lobs):
        raise NotFound(f"There is no fine-tuning job {id_[:128]}.", param="fine_tuning_job_id")
    return JobRecord.model_validate(dict(row))


async def page(
    db: Database,
    lobs: Sequence[str] | None,
    *,
    after_id: str | None = None,
    limit: int = 20,
    labels: dict[str, str] | None = None,
    unlabelled: bool = False,
) -> tuple[list[JobRecord], bool]:
    """Return the jobs of these lines, newest first, and whether there are more.

    Args:
        db: The store.
        lobs: The lines; None is every line, and so is "*".
        after_id: The id after which the page begins.
        limit: The most that are returned.
        labels: Only jobs with all of these.
        unlabelled: Only jobs with none.
    """
    mine = select(JobRow)
    if lobs is not None and "*" not in lobs:
        mine = mine.where(JobRow.lob.in_(lobs))
    if after_id is not None:
        mine = mine.where(JobRow.id < after_id)
    for name, value in (labels or {}).items():
        mine = mine.where(JobRow.labels[name].as_string() == value)
    if unlabelled:
        mine = mine.where(cast(JobRow.labels, Text) == "{}")
    async with db.reader() as connection:
        rows = await connection.execute(mine.order_by(JobRow.id.desc()).limit(limit + 1))
        found = [JobRecord.model_validate(dict(row)) for row in rows.mappings()]
    return found[:limit], len(found) > limit


async def waiting(db: Database) -> list[Waiting]:
    """Return the jobs that are not over."""
    statement = select(JobRow.priority, JobRow.id, JobRow.status)
    async with db.reader() as connection:
        rows = (await connection.execute(statement.where(JobRow.status.not_in(_OVER)))).all()
    return [Waiting(row.priority, row.id, JobState(row.status)) for row in rows]


async def ask(
    db: Database, id_: str, step: Step, key_id: str | None, detail: Json | None = None
) -> JobRecord:
    """Cancel, pause or resume a job, as someone asks, with its line in the audit.

    Args:
        db: The store.
        id_: The job.
        step: What is asked.
        key_id: Who asks; None is the command line.
        detail: More for the audit.

    Raises:
        NotFound: There is no such job.
        Conflict: Its state forbids it.
    """
    words = {Step.CANCEL: "cancelled", Step.PAUSE: "paused", Step.RESUME: "resumed"}[step]
    moved = await move(
        db,
        id_,
        step,
        [JobEvent(message=f"The job was {words}")],
        audited=(key_id, f"{step}_job", detail or {}),
        attempts=0,
    )
    if moved is None:
        raise Conflict(refusal(step, (await get(db, id_)).status))
    return moved


async def take(db: Database, id_: str, term: int) -> JobRecord | None:
    """Begin or go on with a job under a lease; None if its turn is over or another's."""
    change = (
        update(JobRow)
        .where(JobRow.id == id_, JobRow.term < term, JobRow.status.in_(before(Step.TAKE)))
        .values(status=after(Step.TAKE).value, term=term, attempts=JobRow.attempts + 1)
        .returning(JobRow.id)
    )
    async with db.session() as connection:
        if (await connection.execute(change)).first() is None:
            return None
        said = JobEvent(message="Fine-tuning job started", name="started")
        await progress.append(db, connection, id_, [said])
    return await get(db, id_)


async def tidy(db: Database, id_: str) -> None:
    """Take away the lease of a job that is over, once its runner has let go of it."""
    over = select(JobRow.id).where(JobRow.id == id_, JobRow.status.in_(_OVER)).exists()
    free = (LeaseRow.name == lease(id_)) & (LeaseRow.expires_at <= now(db))
    async with db.session() as connection:
        await connection.execute(delete(LeaseRow).where(free, over))


async def goes_on(db: Database, id_: str, term: int) -> bool:
    """Whether a job is still to be worked on under this term: neither cancelled nor paused."""
    mine = (JobRow.id == id_) & (JobRow.term == term) & (JobRow.status == JobState.RUNNING.value)
    async with db.reader() as connection:
        return (await connection.execute(select(JobRow.id).where(mine))).first() is not None


async def move(
    db: Database,
    id_: str,
    step: Step,
    events: Sequence[JobEvent] = (),
    *,
    term: int | None = None,
    audited: tuple[str | None, str, Json] | None = None,
    **changes: Any,
) -> JobRecord | None:
    """Take a step, and note it.

    Args:
        db: The store.
        id_: The job.
        step: What happens.
        events: What is told of it.
        term: Of the lease under which it happens; None: under none.
        audited: Key, action and detail for the audit.
        changes: Other columns.

    Returns:
        The job after it; None, and nothing has changed, if its state or term forbids it.
    """
    target = after(step)
    mine = (JobRow.id == id_) & JobRow.status.in_([state.value for state in before(step)])
    if term is not None:
        mine &= JobRow.term == term
    values: dict[str, Any] = {"status": target.value, "estimated_finish": None, **changes}
    if target in OVER:
        values["finished_at"] = now(db)
    change = update(JobRow).where(mine).values(values).returning(JobRow.id)
    async with db.session() as connection:
        if (await connection.execute(change)).first() is None:
            return None
        await progress.append(db, connection, id_, events)
        if audited is not None:
            key_id, action, detail = audited
            await audit.append(connection, key_id or None, action, id_, detail)
    return await get(db, id_)
