"""The flywheel: the loop turns by itself, one cycle after another, for each line of business.

A cycle is a row in the store, and so is what it has come to: `curate` → `train` (fine-tune,
evaluate, gate: `pipeline.run`) → `canary` (`watcher.run`) or `promote` → its end.
`FlywheelScheduler.step` looks once at a line of business, under its lease: decides
(`schedule.decide`), takes over the cycle that is open or begins one, and carries it as far as it
goes. Nothing is remembered in between, so a scheduler may be killed anywhere: the next one to hold
the lease finds the step in the store, the dataset by its id and the training by its checkpoint.
Several schedulers may run; the lease lets one work, and its term keeps one that lost it from
writing.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from serving.errors import Conflict, SwitchboardError
from serving.store import cycles
from serving.store.records import Cycle
from training.flywheel import lease, schedule
from training.flywheel.cycle_runner import CycleRunner
from training.flywheel.schedule import CycleDecision, Situation
from training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)


class FlywheelScheduler(CycleRunner):
    """Looks at lines of business in turn and carries on what is due; see `CycleRunner`."""

    async def run(self, lobs: Sequence[str], *, every_s: float = 15.0) -> None:
        """Work on lines until cancelled; one that trains keeps no other from its canary.

        Args:
            lobs: The lines of business.
            every_s: Seconds between two looks at one.
        """

        async def follow(lob: str) -> None:
            said = ""
            while True:
                pause_s = every_s
                try:
                    decision = await self.step(lob)
                    if decision.action == "wait" and decision.why != said:
                        logger.info(f"{lob}: {decision.why}")
                    said = decision.why
                    flywheel = self.recipes(lob).flywheel
                    pause_s = min(every_s, flywheel.look_s)
                except SwitchboardError as exc:  # the store is down, or the recipe is wrong
                    logger.info(f"{lob}: {exc.message}")
                await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for lob in lobs:
                group.create_task(follow(lob))

    async def step(self, lob: str) -> CycleDecision:
        """Look once at a line of business, and do what is due; a failed step does not raise.

        Returns:
            What was decided; to wait, too, if another scheduler is at work.

        Raises:
            StoreUnavailable: The store does not answer.
            RecipeError: The recipe is wrong.
        """
        recipe = self.recipes(lob)
        decision, _ = await self.look(lob, recipe)
        await self.teller.decided(lob, decision, recipe.flywheel)
        if decision.action == "wait":
            return decision
        try:
            async with lease.held(
                self.db, f"flywheel/{lob}", self.owner, recipe.flywheel.lease_s
            ) as term:
                if term is None:
                    return CycleDecision("wait", "another scheduler is at work")
                # What was true before the lease was taken may not be true any more.
                decision, cycle = await self.look(lob, recipe)
                if decision.action == "begin":
                    cycle = await cycles.begin(self.db, lob, decision.why, term)
                    logger.info(f"{lob}: cycle {cycle.number} begins: {decision.why}")
                elif decision.action == "go_on" and cycle is not None:
                    cycle = await cycles.take_over(self.db, cycle, term)
                if decision.action != "wait" and cycle is not None:
                    await self.work(cycle, recipe)
        except Conflict as exc:  # lost the lease, or the cycle: whoever has it goes on
            return CycleDecision("wait", exc.message)
        return decision

    async def look(self, lob: str, recipe: Recipe) -> tuple[CycleDecision, Cycle | None]:
        """Return what `step` would do now, and the last cycle; nothing is changed."""
        told = await cycles.see(self.db, lob)
        last = next(iter(await cycles.latest(self.db, lob)), None)
        count, _ = await cycles.new_feedback(self.db, lob)
        at = Situation(
            now=time.time(),
            known_since=told.created_at,
            new_feedback=count,
            paused=told.paused,
            forced=told.forced,
            began=last.created_at if last else None,
            is_open=last is not None and last.is_open,
            on_canary=last is not None and await self.on_canary(last),
            retry_at=last.retry_at if last else None,
        )
        return schedule.decide(recipe.flywheel, at), last
