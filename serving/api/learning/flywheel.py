"""`GET /v1/flywheel`: each line's next cycle, the one under way, why the last was turned down.

All of it is what the store holds: the scheduler is another process, and its schedule is in recipes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from serving import endpoints
from serving.api.access import need
from serving.api.learning import lines
from serving.auth import ApiKey, Role
from serving.routing import Table
from serving.store import adapter_versions, cycles, datasets, leases
from serving.store.database import Database
from serving.store.records import AdapterVersion, Cycle, CycleState
from serving.store.reports import looks
from serving.store.reports.looks import Look

CYCLES = 10
"""The last cycles that are shown of a line."""
DOWN = (
    CycleState.REJECTED,
    CycleState.ROLLED_BACK,
    CycleState.TOO_LITTLE_DATA,
    CycleState.FAILED,
)


class Next(BaseModel):
    """What a scheduler decided when it last looked; times in seconds since the epoch."""

    action: Literal["begin", "go_on", "wait"]
    why: str
    at: float | None
    needed_feedback: int
    looked_at: float
    scheduler: str


class Progress(BaseModel):
    """How far the step under way is."""

    doing: str
    done: int | None
    total: int | None
    told_at: float | None


class Entry(BaseModel):
    """A line of a cycle's log."""

    at: float
    state: str
    text: str


class CycleView(BaseModel):
    """One cycle."""

    number: int
    state: CycleState
    reason: str
    version: str | None
    dataset_id: str | None
    error: str | None
    attempts: int
    retry_at: float | None
    created_at: float
    updated_at: float
    log: list[Entry]


class Reason(BaseModel):
    """One rule of the gate or of the canary, and what came of it."""

    passed: bool
    text: str


class TurnedDown(BaseModel):
    """Why the last cycle that did not end well did not."""

    cycle: int
    state: CycleState
    version: str | None
    at: float
    text: str
    reasons: list[Reason]


class FilterView(BaseModel):
    """What a filter of the curation kept and dropped, in the order in which they ran."""

    name: str
    kept: int
    dropped: int


class LeftOut(BaseModel):
    """What of the last dataset's feedback was left out, and why."""

    dataset_id: str
    filters: list[FilterView]


class LineView(BaseModel):
    """Where a line's flywheel stands."""

    object: Literal["flywheel"] = "flywheel"
    lob: str
    paused: bool
    forced: bool
    new_feedback: int
    next: Next | None
    holder: str | None
    progress: Progress | None
    cycles: list[CycleView]
    turned_down: TurnedDown | None
    left_out: LeftOut | None


class Flywheels(BaseModel):
    """All lines of the key."""

    object: Literal["list"] = "list"
    data: list[LineView]


def router(db: Database, table: Callable[[], Table]) -> APIRouter:
    """Make the endpoint.

    Args:
        db: The store.
        table: The routing table, whose lines there are.
    """
    routes = APIRouter()

    @routes.get(endpoints.FLYWHEEL)
    async def _flywheel(request: Request, lob: str | None = None) -> Flywheels:
        key: ApiKey = request.state.key
        need(key, Role.TRAINER)
        looked, held = await looks.all_(db), await leases.holders(db)
        data = []
        for one in lines.asked(key, table, lob):
            lease = held.get(f"flywheel/{one}")
            holder = lease.owner if lease is not None else None
            data.append(await _line(db, one, looked.get(one), holder))
        return Flywheels(data=data)

    return routes


async def _line(db: Database, lob: str, look: Look | None, holder: str | None) -> LineView:
    found = await cycles.latest(db, lob, CYCLES)
    told = await cycles.told(db, lob)
    count, _ = await cycles.new_feedback(db, lob)
    down = next((one for one in found if one.state in DOWN), None)
    built = next((one.dataset_id for one in found if one.dataset_id is not None), None)
    filters = await datasets.part(db, built, "filters") if built is not None else None
    version = None
    if down is not None and down.version is not None:
        version = await adapter_versions.get(db, down.version)
    return LineView(
        lob=lob,
        paused=told.paused if told else False,
        forced=told.forced if told else False,
        new_feedback=count,
        next=_next(look),
        holder=holder,
        progress=progress(look, holder, found),
        cycles=[_cycle(one) for one in found],
        turned_down=turned_down(down, version) if down else None,
        left_out=LeftOut(dataset_id=built, filters=filters) if built and filters else None,
    )


def progress(look: Look | None, holder: str | None, found: Sequence[Cycle]) -> Progress | None:
    """Return how far a step is, where whoever holds the line's lease told it of the open cycle.

    Args:
        look: The last look.
        holder: Who holds the lease.
        found: The line's cycles, newest first.
    """
    if look is None or look.doing is None or look.owner != holder:
        return None
    if not found or not found[0].is_open:
        return None
    return Progress(doing=look.doing, done=look.done, total=look.total, told_at=look.told_at)


def turned_down(cycle: Cycle, version: AdapterVersion | None) -> TurnedDown:
    """Say why a cycle did not end well: by the gate, by the canary, or as the log says last.

    Args:
        cycle: It ended so.
        version: What it made.
    """
    judged: dict[str, Any] = {}
    if version is not None:
        canary = version.metrics.get("canary") or {}
        judged = canary if cycle.state is CycleState.ROLLED_BACK else version.decision
    text = cycle.error or (cycle.log[-1]["text"] if cycle.log else "")
    return TurnedDown(
        cycle=cycle.number,
        state=cycle.state,
        version=cycle.version,
        at=cycle.updated_at,
        text=text,
        reasons=[
            Reason(passed=bool(one["passed"]), text=str(one["text"]))
            for one in judged.get("reasons") or ()
        ],
    )


def _next(look: Look | None) -> Next | None:
    if look is None:
        return None
    return Next.model_validate(
        {
            "action": look.action,
            "why": look.why,
            "at": look.next_at,
            "needed_feedback": look.needed,
            "looked_at": look.looked_at,
            "scheduler": look.owner,
        }
    )


def _cycle(cycle: Cycle) -> CycleView:
    shown = cycle.model_dump(exclude={"id", "lob", "term", "feedback_seen"})
    return CycleView.model_validate(shown)
