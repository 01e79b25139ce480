"""What the flywheel tells people who look on: the store's rows that the console's page reads."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from serving.config.settings import Settings
from serving.errors import SwitchboardError
from serving.store.database import Database
from serving.store.reports import impact, looks
from training.analysis import impact_report
from training.flywheel.schedule import CycleDecision
from training.recipe.flywheel import FlywheelConfig
from training.trainers import tracking

logger = logging.getLogger(__name__)

TELL_S = 2.0
AGAIN_S = 30.0
"""A decision that has not changed is told again after this, so that people see somebody looks."""
TRAINING = "training"


class Teller:
    """Tells what a scheduler decides, each time that it is something else.

    Args:
        db: The store.
        owner: Who the scheduler is.
    """

    def __init__(self, db: Database, owner: str) -> None:
        self._db = db
        self._owner = owner
        self._told: dict[str, tuple[CycleDecision, float]] = {}

    async def decided(self, lob: str, decision: CycleDecision, rules: FlywheelConfig) -> None:
        """Note a decision.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        before, at = self._told.get(lob, (None, 0.0))
        now = time.monotonic()
        if before == decision and now - at < AGAIN_S:
            return
        await looks.save(
            self._db,
            lob,
            owner=self._owner,
            action=decision.action,
            why=decision.why,
            next_at=decision.at,
            needed=rules.min_new_feedback,
        )
        self._told[lob] = decision, now

    @asynccontextmanager
    async def training(self, lob: str, out: Path) -> AsyncIterator[None]:
        """Tell how far a line's training is while the block runs.

        Where it runs on another machine there is no log of its steps here: then it is told that it
        goes on, and no more. A store that is down stops no training.

        Args:
            lob: The line of business.
            out: Folder of the runs.
        """
        task = asyncio.create_task(self._follow(lob, out, time.time()))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(SwitchboardError):
                await looks.tell(self._db, lob, self._owner, None)

    async def _follow(self, lob: str, out: Path, since: float) -> None:
        said: tuple[int, int] | None = (-1, -1)
        while True:
            now = await asyncio.to_thread(steps, out, lob, since)
            if now != said:
                with suppress(SwitchboardError):
                    await looks.tell(self._db, lob, self._owner, TRAINING, *(now or ()))
                    said = now
            await asyncio.sleep(TELL_S)


def steps(out: Path, lob: str, since: float) -> tuple[int, int] | None:
    """Return the last (step, of all) that a line's trainer wrote since then; None before the first.

    Args:
        out: Folder of the runs.
        lob: The line of business.
        since: When the training began, in seconds since the epoch.
    """
    written = []
    for file in (out / "work").glob(f"{lob}-*/**/{tracking.STEPS}"):
        with suppress(FileNotFoundError):  # the run is over
            written.append((file.stat().st_mtime, file))
    newest = [file for at, file in sorted(written) if at >= since][-1:]
    for file in newest:
        with suppress(FileNotFoundError):
            for line in reversed(file.read_text(encoding="utf-8").splitlines()):
                with suppress(ValueError, KeyError):  # half a line, or a checkpoint
                    found = json.loads(line)
                    return int(found["step"]), int(found["of"])
    return None


async def publish_impact(settings: Settings, db: Database, lob: str) -> None:
    """Publish what a line's suggestions are worth; docs/impact.md."""
    for report in await impact_report.read(settings, [lob]):
        await impact.publish(db, lob, report.as_json())
