"""`/v1/grades`: sampled answers that people judge, without knowing which version wrote them."""

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from serving import endpoints
from serving.api.access import need, read_of, scope
from serving.api.learning import lines
from serving.api.learning.window import DAYS, Days, since
from serving.auth import ApiKey, Role
from serving.errors import InvalidRequest, NotFound
from serving.routing import Table
from serving.store import audit, interactions
from serving.store.database import Database, storable
from serving.store.grades import grades
from serving.store.grades.grades import GRADED_TASKS, Grade, GradeRecord
from serving.store.records import InteractionRecord, Status
from serving.store.reviews.records import held_as

REASON = "grade"
"""What the audit says of who is shown an answer to grade."""


class GradeBody(BaseModel):
    """What a grader thinks of an answer."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=128, description="The answer's id.")
    grade: Grade = Field(
        description="good: could go out as it is; usable: after an edit; wrong: not at all."
    )
    unsupported: StrictBool = Field(
        False, description="It says something that nothing in the conversation supports."
    )


class Turn(BaseModel):
    """One turn of the conversation."""

    role: str
    text: str


class ToGrade(BaseModel):
    """An answer to grade, without its version."""

    id: str
    lob: str
    task: str
    conversation: list[Turn]
    answer: str


class NextToGrade(BaseModel):
    """What this key's holder is to grade next, and how many are left with it."""

    object: Literal["grade.next"] = "grade.next"
    lob: str
    left: int
    answer: ToGrade | None


class Given(BaseModel):
    """A grade that is stored."""

    object: Literal["grade"] = "grade"
    id: str
    grade: Grade
    unsupported: bool


def router(db: Database, table: Callable[[], Table]) -> APIRouter:
    """Make the endpoints.

    Args:
        db: The store.
        table: The routing table, whose lines there are.
    """
    routes = APIRouter(prefix=endpoints.GRADES)

    @routes.get("/next")
    async def _next(request: Request, lob: str, days: Days = DAYS) -> NextToGrade:
        key: ApiKey = request.state.key
        need(key, Role.REVIEWER)
        (line,) = lines.asked(key, table, lob)
        id_, left = await grades.next_for(db, line, key.id, since(days))
        found = await interactions.get(db, id_) if id_ is not None else None
        if found is None:
            return NextToGrade(lob=line, left=0, answer=None)
        await audit.write(
            db, key.id or None, "read_interaction", found.id, read_of(found.lob, REASON)
        )
        return NextToGrade(lob=line, left=left, answer=to_grade(found))

    @routes.post("")
    async def _give(request: Request, body: GradeBody) -> Given:
        key: ApiKey = request.state.key
        need(key, Role.REVIEWER)
        found = await interactions.get(db, storable(body.id))
        if found is None:
            raise NotFound(f"There is no interaction {body.id}.", param="id")
        scope(key, found)
        if not gradable(found):
            raise InvalidRequest(
                "Graded are complete suggestions and summaries that were not held.", param="id"
            )
        record = GradeRecord(
            interaction_id=found.id,
            key_id=key.id,
            grade=body.grade,
            unsupported=body.unsupported,
        )
        await grades.give(db, record)
        return Given(id=found.id, grade=body.grade, unsupported=body.unsupported)

    return routes


def gradable(found: InteractionRecord) -> bool:
    """Whether an answer is of those that people grade."""
    return (
        found.lob is not None
        and found.task in GRADED_TASKS
        and found.status is Status.COMPLETED
        and held_as(found.guards) is None
    )


def to_grade(found: InteractionRecord) -> ToGrade:
    """Return what a grader sees of an answer: the conversation as it was asked, and the text.

    Of a rolling summary that is the summary before (role `previous`) and the turns since.
    """
    turns: list[Any] = found.request.get("conversation") or []
    if before := (found.request.get("previous") or {}).get("summary"):
        turns = [{"role": "previous", "text": before}, *turns]
    said = [turn for turn in turns if isinstance(turn, dict)]
    return ToGrade(
        id=found.id,
        lob=found.lob or "",
        task=found.task,
        conversation=[
            Turn(role=str(turn.get("role", "")), text=str(turn.get("text", ""))) for turn in said
        ],
        answer=found.output,
    )
