"""How a line's answers were: how many, how quick, how often with what nothing supports."""

from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Integer,
    Subquery,
    Text,
    and_,
    case,
    cast,
    func,
    select,
    union_all,
)

from serving.store.database import Database
from serving.store.records import Record, Status
from serving.store.tables import Interaction

CLAIMS = "output.claims"
"""The guard that finds what an answer says and nothing of its input supports."""
LIMIT = 20_000
"""The newest answers of which figures are; more would take longer than a page may."""
_PERCENTILES = (50, 95)


class Answers(Record):
    """Of one version; latencies in ms, of completed answers, None where there is none.

    `unsupported` are completed answers in which the guard of claims found something; where the line
    has no such guard it is 0 and says nothing. TTFT is of streams.
    """

    version: str
    answers: int
    completed: int
    aborted: int
    failed: int
    conversations: int
    unsupported: int
    latency_p50: float | None = None
    latency_p95: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None


async def by_version(db: Database, lob: str, since: float) -> list[Answers]:
    """Return what a line's versions, and whatever else answered for it, did since then.

    Percentiles are nearest-rank, exact, of the newest `LIMIT` answers, as all of it.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest request, in seconds since the epoch.
    """
    rows = _newest(lob, since)
    completed = rows.c.status == Status.COMPLETED

    def number(condition: Any) -> Any:
        return func.sum(case((condition, 1), else_=0))

    counts = (
        select(
            rows.c.version,
            func.count().label("answers"),
            number(completed).label("completed"),
            number(rows.c.status == Status.ABORTED).label("aborted"),
            number(rows.c.status == Status.ERROR).label("failed"),
            func.count(rows.c.conversation_id.distinct()).label("conversations"),
            number(and_(completed, rows.c.unsupported == 1)).label("unsupported"),
        )
        .group_by(rows.c.version)
        .order_by(rows.c.version)
    )
    times: dict[str, dict[str, float]] = {}
    async with db.reader() as connection:
        found = (await connection.execute(counts)).mappings().all()
        for name in ("latency", "ttft"):
            for one in await connection.execute(_ranked(rows, f"{name}_ms")):
                times.setdefault(one.version, {})[f"{name}_p{one.percent}"] = one.value
    return [Answers.model_validate(dict(row) | times.get(row["version"], {})) for row in found]


async def conversations(db: Database, since: float) -> tuple[int, float | None]:
    """Return how many conversations of all lines there were since then, and the first one's begin.

    What names no conversation is one by itself.
    """
    one = func.coalesce(func.nullif(Interaction.conversation_id, ""), Interaction.id)
    talk = (func.coalesce(Interaction.lob, "") + "/" + one).distinct()
    counted = select(func.count(talk), func.min(Interaction.created_at))
    async with db.reader() as connection:
        number, first = (
            await connection.execute(counted.where(Interaction.created_at >= since))
        ).one()
    return int(number), first


def _newest(lob: str, since: float) -> Subquery:
    claims = cast(Interaction.guards, Text).contains(f'"{CLAIMS}"', autoescape=True)
    return (
        select(
            func.coalesce(Interaction.version, "").label("version"),
            Interaction.status,
            Interaction.conversation_id,
            Interaction.latency_ms,
            Interaction.ttft_ms,
            case((claims, 1), else_=0).label("unsupported"),
        )
        .where(Interaction.lob == lob, Interaction.created_at >= since)
        .order_by(Interaction.created_at.desc())
        .limit(LIMIT)
        .subquery()
    )


def _ranked(rows: Subquery, name: str) -> CompoundSelect[Any]:
    """Select (version, percent, value) of completed answers by nearest rank."""
    version, column = rows.c.version, rows.c[name]
    known = rows.c.status == Status.COMPLETED, column.is_not(None)
    ranked = (
        select(
            version,
            column.label("value"),
            func.row_number().over(partition_by=version, order_by=column).label("place"),
            func.count().over(partition_by=version).label("number"),
        )
        .where(*known)
        .subquery()
    )
    wanted = [
        select(ranked.c.version, cast(percent, Integer).label("percent"), ranked.c.value).where(
            ranked.c.place == (ranked.c.number * percent + 99) // 100
        )
        for percent in _PERCENTILES
    ]
    return union_all(*wanted)
