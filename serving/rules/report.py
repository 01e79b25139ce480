"""What became of rules' answers, so that a rule is judged and rolled back like a version."""

from dataclasses import dataclass

from sqlalchemy import case, func, select

from serving.store.database import Database
from serving.store.records import RULE
from serving.store.tables import Feedback, Interaction


@dataclass(frozen=True, slots=True)
class RuleReport:
    """One version of a rule: its answers, and those of which feedback says so.

    Args:
        artifact: `rule:NAME@N`.
        answers: How many it gave.
        used: Used as they were.
        edited: Edited.
        rejected: Rejected.
    """

    artifact: str
    answers: int
    used: int
    edited: int
    rejected: int


async def report(db: Database, lob: str, since: float = 0.0) -> list[RuleReport]:
    """Return what became of each rule's answers, by version.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest answer, seconds since the epoch.
    """
    said = (
        select(
            Feedback.interaction_id,
            func.max(case((Feedback.edit.is_not(None), 1), else_=0)).label("edited"),
            func.max(case((Feedback.used.is_(True), 1), else_=0)).label("used"),
            func.max(case((Feedback.rejected.is_(True), 1), else_=0)).label("rejected"),
        )
        .group_by(Feedback.interaction_id)
        .subquery()
    )
    plainly = case((said.c.edited == 0, said.c.used), else_=0)
    statement = (
        select(
            Interaction.version,
            func.count(),
            func.coalesce(func.sum(plainly), 0),
            func.coalesce(func.sum(said.c.edited), 0),
            func.coalesce(func.sum(said.c.rejected), 0),
        )
        .outerjoin(said, said.c.interaction_id == Interaction.id)
        .where(
            Interaction.lob == lob,
            Interaction.created_at >= since,
            Interaction.version.like(f"{RULE}%"),
        )
        .group_by(Interaction.version)
        .order_by(Interaction.version)
    )
    async with db.reader() as connection:
        rows = await connection.execute(statement)
        return [RuleReport(str(row[0]), *(int(count) for count in row[1:])) for row in rows]
