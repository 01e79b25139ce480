"""How a line's answers were: how many, how quick, how often with what nothing supports."""

from typing import Any

from sqlalchemy import Integer, Select, Text, and_, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute

from serving.store.database import Database
from serving.store.records import Record, Status
from serving.store.tables import Interaction

CLAIMS = "output.claims"
"""The guard that finds what an answer says and nothing of its input supports."""
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

    Percentiles are nearest-rank, exact.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest request, in seconds since the epoch.
    """
    version = func.coalesce(Interaction.version, "").label("version")
    mine = Interaction.lob == lob, Interaction.created_at >= since
    completed = Interaction.status == Status.COMPLETED
    found = cast(Interaction.guards, Text).contains(f'"{CLAIMS}"', autoescape=True)

    def number(condition: Any) -> Any:
        return func.sum(case((condition, 1), else_=0))

    counts = (
        select(
            version,
            func.count().label("answers"),
            number(completed).label("completed"),
            number(Interaction.status == Status.ABORTED).label("aborted"),
            number(Interaction.status == Status.ERROR).label("failed"),
            func.count(Interaction.conversation_id.distinct()).label("conversations"),
            number(and_(completed, found)).label("unsupported"),
        )
        .where(*mine)
        .group_by(version)
        .order_by(version)
    )
    times: dict[str, dict[str, float]] = {}
    async with db.reader() as connection:
        rows = (await connection.execute(counts)).mappings().all()
        for name, column in (("latency", Interaction.latency_ms), ("ttft", Interaction.ttft_ms)):
            ranked = _ranked(column, version, (*mine, completed, column.is_not(None)))
            for of, percent, value in await connection.execute(ranked):
                times.setdefault(of, {})[f"{name}_p{percent}"] = value
    return [Answers.model_validate(dict(row) | times.get(row["version"], {})) for row in rows]


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


def _ranked(
    column: InstrumentedAttribute[Any], version: Any, mine: tuple[Any, ...]
) -> Select[tuple[str, int, float]]:
    """Select (version, percent, value) by nearest rank."""
    rows = (
        select(
            version,
            column.label("value"),
            func.row_number().over(partition_by=version, order_by=column).label("rank"),
            func.count().over(partition_by=version).label("count"),
        )
        .where(*mine)
        .subquery()
    )
    ranks = {
        percent: cast((rows.c["count"] * percent + 99) // 100, Integer) for percent in _PERCENTILES
    }
    wanted = [
        select(rows.c.version, cast(percent, Integer).label("percent"), rows.c.value).where(
            rows.c.rank == rank
        )
        for percent, rank in ranks.items()
    ]
    return wanted[0].union_all(*wanted[1:])  # type: ignore[return-value]
