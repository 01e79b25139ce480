"""Grades of sampled answers, for people who judge quality; nothing is learned from them.

The sample of a line is the same for everybody, so that graders meet on answers: the k smallest
hashes of what was answered lately (bottom-k sampling, Cohen and Kaplan 2007). It is uniform, and
newer answers change little of it. The hash is the monitor's, of a recipe without a salt of its own,
so that what it draws and what is graded here are one within the other.
"""

import time
from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field
from sqlalchemy import ColumnElement, Text, cast, func, select

from serving.draws import monitor_draw
from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.grades.tables import GradeRow
from serving.store.records import ABSTAINED, Record, Status, Task
from serving.store.reviews.records import MARK
from serving.store.tables import Interaction

SAMPLE = 50
POOL = 5000
"""The newest answers among which is drawn: reading more ids would take a page's time."""
GRADED_TASKS = (Task.SUGGESTION, Task.SUMMARY)


class Grade(StrEnum):
    """What somebody thinks of an answer, the worst first."""

    WRONG = "wrong"
    USABLE = "usable"
    GOOD = "good"


class GradeRecord(Record):
    """One person's grade of one answer; `unsupported`: it says what nothing in its input says."""

    interaction_id: str
    key_id: str
    grade: Grade
    unsupported: bool
    created_at: float = Field(default_factory=time.time)


class Graded(Record):
    """A grade with what was graded: the version that answered."""

    interaction_id: str
    key_id: str
    version: str | None
    grade: Grade
    unsupported: bool


async def sample(db: Database, lob: str, since: float) -> list[str]:
    """Return the ids of a line's answers that people are to grade, in the order to take them.

    Left out is what nobody was shown: held back, held for review, abstained, cut short, empty.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest answer, in seconds since the epoch.
    """
    wanted = select(Interaction.id).where(*_gradable(lob, since))
    newest = wanted.order_by(Interaction.created_at.desc(), Interaction.id).limit(POOL)
    async with db.reader() as connection:
        ids = (await connection.execute(newest)).scalars().all()
    return sorted(ids, key=lambda id_: (monitor_draw(lob, id_), id_))[:SAMPLE]


async def next_for(db: Database, lob: str, key_id: str, since: float) -> tuple[str | None, int]:
    """Return the answer that somebody is to grade next, None if none is left, and how many are.

    Args:
        db: The store.
        lob: The line of business.
        key_id: Who grades; "" where keys are off.
        since: The earliest answer.
    """
    ids = await sample(db, lob, since)
    mine = GradeRow.interaction_id.in_(ids), GradeRow.key_id == key_id
    async with db.reader() as connection:
        found = await connection.execute(select(GradeRow.interaction_id).where(*mine))
        done = set(found.scalars())
    left = [id_ for id_ in ids if id_ not in done]
    return (left[0] if left else None), len(left)


async def give(db: Database, record: GradeRecord) -> None:
    """Store a grade, in place of the same person's earlier one; it is in the audit."""
    row = record.model_dump(mode="json")
    statement = db.insert(GradeRow).values(row)
    changed = {name: row[name] for name in ("grade", "unsupported", "created_at")}
    statement = statement.on_conflict_do_update(
        index_elements=[GradeRow.interaction_id, GradeRow.key_id], set_=changed
    )
    async with db.session() as connection:
        await connection.execute(statement)
        detail = {"grade": row["grade"], "unsupported": record.unsupported}
        who = record.key_id or None
        await audit.append(connection, who, "grade", record.interaction_id, detail)


async def given(db: Database, lob: str, since: float) -> list[Graded]:
    """Return the grades of a line's answers, by the answer's id.

    Args:
        db: The store.
        lob: The line of business.
        since: The earliest answer.
    """
    columns = (
        *(GradeRow.interaction_id, GradeRow.key_id, Interaction.version),
        *(GradeRow.grade, GradeRow.unsupported),
    )
    statement = (
        select(*columns)
        .join(Interaction, Interaction.id == GradeRow.interaction_id)
        .where(Interaction.lob == lob, Interaction.created_at >= since)
        .order_by(GradeRow.interaction_id, GradeRow.key_id)
    )
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings()
        return [Graded.model_validate(dict(row)) for row in rows]


def places(found: Sequence[Graded]) -> list[tuple[str, str, int]]:
    """Return grades as `agreement` takes them: answer, grader, place in the order."""
    order = [*Grade]
    return [(one.interaction_id, one.key_id, order.index(one.grade)) for one in found]


def _gradable(lob: str, since: float) -> list[ColumnElement[bool]]:
    held = cast(Interaction.guards, Text).contains(f'"{MARK}"', autoescape=True)  # as `held_as`
    return [
        Interaction.lob == lob,
        Interaction.created_at >= since,
        Interaction.task.in_([task.value for task in GRADED_TASKS]),
        Interaction.status == Status.COMPLETED,
        func.coalesce(Interaction.finish_reason, "") != ABSTAINED,
        Interaction.shown_by_draw.is_not(False),
        Interaction.output != "",
        *interactions.of_models(),
        ~held,
    ]
