"""Looks at a line's production: reads the store, weighs, tells of alarms.

Nothing is remembered between two looks but what the store holds: an alarm that was told is in the
audit, so that it is told once a period, whoever looks. One that the webhook did not take is not
noted, and is told again at the next look, with the same key.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from serving.errors import SwitchboardError
from serving.observability import webhook
from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.grades import grades as people
from training.errors import RecipeError
from training.monitoring import report, rules, windows
from training.monitoring.grades import Grade
from training.monitoring.report import Report, Watched
from training.monitoring.rules import Answer
from training.recipe.flywheel import FlywheelConfig
from training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

ACTION = "quality_alarm"
WORTH = {"wrong": 0.0, "usable": 0.5, "good": 1.0}
"""What the console's grades are as numbers."""
_TOLD = 1000
"""Entries of the audit in which a period's alarms are looked for; a recipe has a few rules."""


async def look(
    db: Database, lob: str, recipe: Recipe, given: Sequence[Grade], now: float | None = None
) -> Report:
    """Weigh a line's production, and change nothing.

    Args:
        db: The store.
        lob: The line of business.
        recipe: Its recipe.
        given: Grades of answers beside those that the console's graders gave, in the order in which
            they came.
        now: Seconds since the epoch; None is now.

    Raises:
        RecipeError: The reference would lie in the present.
        StoreUnavailable: The store does not answer.
    """
    monitoring = recipe.monitoring
    at = windows.at(monitoring, time.time() if now is None else now)
    around = monitoring.window_s
    reference = await _answers(db, lob, at.since - around, at.until + around, around)
    present = await _answers(db, lob, at.begins - around, at.now, around)
    both = [*await _graded(db, lob, at.since - around), *given]
    return await asyncio.to_thread(report.report, lob, reference, present, both, recipe, at)


async def run(
    lob: str,
    *,
    db: Database,
    recipe: Recipe,
    given: Callable[[], Sequence[Grade]],
    every_s: float,
    seen: Callable[[Report], None],
) -> NoReturn:
    """Look and tell until cancelled; what fails is logged and tried again.

    Args:
        lob: The line of business.
        db: The store.
        recipe: The line's recipe.
        given: Reads the grades that there are.
        every_s: Seconds between two looks.
        seen: Is told of each look.

    Raises:
        RecipeError: The reference would lie in the present.
    """
    while True:
        try:
            found = await look(db, lob, recipe, given())
            seen(found)
            await tell(db, found, recipe.flywheel)
        except RecipeError:
            raise
        except SwitchboardError as exc:  # the store is down, or the grades cannot be read
            logger.info(f"{lob}: {exc.message}")
        await asyncio.sleep(every_s)


async def tell(db: Database, found: Report, to: FlywheelConfig) -> list[Watched]:
    """Tell people of alarms that nobody was told of, and note them in the audit.

    Args:
        db: The store.
        found: What a look found.
        to: Whose webhook is told, as of the flywheel's failures.

    Returns:
        Those that are told now.

    Raises:
        StoreUnavailable: The store does not answer.
    """
    period = found.windows.begins
    entries = await audit.about(db, found.lob, ACTION, _TOLD)
    known = {(entry.detail.get("period"), entry.detail.get("what")) for entry in entries}
    url, secret = (os.environ.get(name) for name in (to.webhook_env, to.webhook_secret_env))
    told = []
    for one in found.alarms:
        if (period, one.name) in known:
            continue
        detail = said(found, one)
        key = f"{found.lob}.{period:.0f}.{one.name.replace(' ', '.')}"
        fault = await webhook.post(url, secret, {"event": ACTION, "id": key, **detail}, key=key)
        if fault:
            logger.info(f"{found.lob}: {one.name}: {fault}")
            continue
        await audit.write(db, None, ACTION, found.lob, detail)
        told.append(one)
    return told


def said(found: Report, one: Watched) -> dict[str, object]:
    """Return what is told of an alarm: figures, and no text of anybody's.

    Raises:
        ValueError: There are no figures.
    """
    drift = one.drift
    if drift is None:
        raise ValueError(f"{one.name} has no figures to tell")
    return {
        "lob": found.lob,
        "what": one.name,
        "metric": one.rule.metric,
        "direction": one.rule.direction,
        "margin": one.rule.margin,
        "period": found.windows.begins,
        "reference": [drift.reference.low, drift.reference.mean, drift.reference.high],
        "present": [drift.present.low, drift.present.mean, drift.present.high],
        "conversations": drift.present.count,
        "after": drift.after,
    }


async def _answers(
    db: Database, lob: str, since: float, until: float, window_s: float
) -> list[Answer]:
    rows = interactions.stream(db, lob=lob, since=since, until=until, judged=False)
    found = []
    async for item in rows:
        answer = rules.read(item, window_s)
        if answer is not None:
            found.append(answer)
    return found


async def _graded(db: Database, lob: str, since: float) -> list[Grade]:
    """Return what people think who grade in the console."""
    return [
        Grade(answer=one.interaction_id, grader=one.key_id or "console", grade=WORTH[one.grade])
        for one in await people.given(db, lob, since)
    ]
