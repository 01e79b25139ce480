"""`GET /v1/quality`: what a line's answers are worth, how quick they are, what people think."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from serving import endpoints
from serving.api.access import need
from serving.api.learning import lines
from serving.api.learning.window import DAYS, Days, since
from serving.auth import ALL, ApiKey, Role
from serving.config.sections import Costs
from serving.routing import Table
from serving.store.database import Database
from serving.store.grades import grades
from serving.store.grades.agreement import agreement
from serving.store.grades.grades import Grade, Graded
from serving.store.reports import answers, impact
from serving.store.reports.answers import Answers

HOUR_S = 3600.0
METHOD = "Krippendorff's alpha, ordinal"


class GradesOf(BaseModel):
    """The grades of one version's answers; of a version that nobody graded there is none."""

    version: str
    answers: int
    wrong: int
    usable: int
    good: int
    unsupported: int


class AgreementView(BaseModel):
    """How far graders agree; see docs/console.md."""

    method: str
    alpha: float | None
    low: float | None
    high: float | None
    units: int
    graders: int


class Impact(BaseModel):
    """What `switchboard impact --publish`, or a cycle's end, said last."""

    made_at: float
    report: dict[str, Any]


class LineQuality(BaseModel):
    """One line's figures."""

    object: Literal["quality"] = "quality"
    lob: str
    since: float
    versions: list[Answers]
    impact: Impact | None
    grades: list[GradesOf]
    agreement: AgreementView


class Cost(BaseModel):
    """What a thousand conversations cost, over all lines."""

    per_thousand_conversations: float | None
    currency: str
    conversations: int
    hours: float


class Quality(BaseModel):
    """All lines of the key; `cost` where it is configured and the key covers every line."""

    object: Literal["list"] = "list"
    data: list[LineQuality]
    cost: Cost | None


def router(db: Database, table: Callable[[], Table], costs: Costs) -> APIRouter:
    """Make the endpoint.

    Args:
        db: The store.
        table: The routing table, whose lines there are.
        costs: What running costs.
    """
    routes = APIRouter()

    @routes.get(endpoints.QUALITY)
    async def _quality(request: Request, lob: str | None = None, days: Days = DAYS) -> Quality:
        key: ApiKey = request.state.key
        need(key, Role.TRAINER, Role.REVIEWER)
        begin = since(days)
        data = [await _line(db, one, begin) for one in lines.asked(key, table, lob)]
        whole = ALL in key.lobs and costs.per_hour is not None
        return Quality(data=data, cost=await _cost(db, costs, begin) if whole else None)

    return routes


async def _line(db: Database, lob: str, begin: float) -> LineQuality:
    published = await impact.latest(db, lob)
    given = await grades.given(db, lob, begin)
    found = await asyncio.to_thread(agreement, grades.places(given), len(Grade))
    return LineQuality(
        lob=lob,
        since=begin,
        versions=await answers.by_version(db, lob, begin),
        impact=Impact(made_at=published.made_at, report=published.content) if published else None,
        grades=by_version(given),
        agreement=AgreementView(method=METHOD, **asdict(found)),
    )


def by_version(given: Sequence[Graded]) -> list[GradesOf]:
    """Count grades by the version that was graded.

    `answers` counts answers, the others grades: of an answer that two people graded there are two.
    """
    rows = []
    for version in sorted({one.version or "" for one in given}):
        mine = [one for one in given if (one.version or "") == version]
        counts = Counter(one.grade for one in mine)
        rows.append(
            GradesOf(
                version=version,
                answers=len({one.interaction_id for one in mine}),
                unsupported=sum(one.unsupported for one in mine),
                wrong=counts[Grade.WRONG],
                usable=counts[Grade.USABLE],
                good=counts[Grade.GOOD],
            )
        )
    return rows


async def _cost(db: Database, costs: Costs, begin: float) -> Cost:
    number, first = await answers.conversations(db, begin)
    hours = 0.0 if first is None else (time.time() - first) / HOUR_S
    return Cost(
        per_thousand_conversations=per_thousand(costs.per_hour or 0.0, hours, number),
        currency=costs.currency,
        conversations=number,
        hours=hours,
    )


def per_thousand(per_hour: float, hours: float, conversations: int) -> float | None:
    """Return what a thousand conversations cost; None where there was none.

    Args:
        per_hour: What an hour of the deployment costs.
        hours: How long it ran.
        conversations: How many it had.
    """
    return 1000 * per_hour * hours / conversations if conversations else None
