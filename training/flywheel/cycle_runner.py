"""A cycle's steps: curate, train, canary, promote; each noted in the store when it is done."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.errors import Conflict, StoreUnavailable, SwitchboardError
from serving.observability import webhook
from serving.store import cycles, datasets
from serving.store.database import Database
from serving.store.records import Action, AdapterVersion, Cycle, CycleState
from training import pipeline
from training.canary import watcher
from training.errors import DatasetError, TooLittleData
from training.evaluation import server
from training.execution import asked_by, curation_process
from training.execution.local import Worker
from training.flywheel import report, schedule, telling
from training.flywheel.telling import Teller
from training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

S = CycleState
AGAIN = "curates again"
BAD_ENDS = {S.REJECTED: "rejected", S.ROLLED_BACK: "rolled_back"}


@dataclass
class CycleRunner:
    """Carries cycles as far as they go.

    Args:
        db: The store, open.
        settings: The server's configuration.
        config: Its file.
        recipes: The recipe of a line of business.
        owner: Who this scheduler is; shown to people, and different for each process.
        out: Folder for datasets, runs and the cycles' reports.
        url: The running server, without /v1; None takes the configured one.
        api_key: A key with the role admin.
        worker: A training process to use; None starts one for each training.
    """

    db: Database
    settings: Settings
    config: Path
    recipes: Callable[[str], Recipe]
    owner: str
    out: Path = Path("runs")
    url: str | None = None
    api_key: str | None = None
    worker: Worker | None = None
    training: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    teller: Teller = field(init=False)

    def __post_init__(self) -> None:
        self.teller = Teller(self.db, self.owner)

    async def work(self, cycle: Cycle, recipe: Recipe) -> None:
        """Take steps until the cycle ends, waits, or is paused."""
        if cycle.retry_at is not None:
            await cycles.clear_force(self.db, cycle.lob)
        while cycle.is_open:
            before = cycle
            try:
                cycle = await self._step(cycle, recipe)
            except (Conflict, StoreUnavailable) as exc:
                # A cycle that another took over, or a store that is down, cannot be written to.
                current = await cycles.take_over(self.db, cycle, cycle.term)
                cycle = await self._failed(current, recipe, exc)
            except Exception as exc:
                cycle = await self._failed(cycle, recipe, exc)
            if cycle.state == before.state:  # a canary goes on, or the step is to be tried again
                break
            if cycle.is_open and (await cycles.see(self.db, cycle.lob)).paused:
                break
        self._report(cycle)
        if cycle.state in BAD_ENDS:
            await self._alert(BAD_ENDS[cycle.state], cycle, recipe)
        if not cycle.is_open:  # last: of many answers it takes a while, and people are told first
            await self._publish(cycle)

    async def _step(self, cycle: Cycle, recipe: Recipe) -> Cycle:
        steps = {
            S.CURATE: self._curate,
            S.TRAIN: self._train,
            S.CANARY: self._canary,
            S.PROMOTE: self._promote,
        }
        return await steps[cycle.state](cycle, recipe)

    async def _curate(self, cycle: Cycle, recipe: Recipe) -> Cycle:
        count, newest = await cycles.new_feedback(self.db, cycle.lob)
        root = self.out / "datasets"
        try:
            live = await asked_by.live(self._registry, cycle.lob)
            form = await asked_by.own(live, self.settings)
            built = await curation_process.build(
                self.settings.store_address, cycle.lob, recipe, root, form=form
            )
        except TooLittleData as exc:
            return await self._on(cycle, exc.message, state=S.TOO_LITTLE_DATA)
        if not built.train or not built.holdout:
            return await self._on(
                cycle, "nothing is left to learn from, or to judge by", state=S.TOO_LITTLE_DATA
            )
        stored = await datasets.get(self.db, built.id)
        if stored is not None and not await asyncio.to_thread(Path(stored.uri).is_dir):
            # Another machine made the same, and its files are not here.
            await datasets.move(self.db, built.id, str(built.folder))
        return await self._on(
            cycle,
            f"dataset {built.id[:12]}: {len(built.train)} examples to learn from, "
            f"{len(built.holdout)} to judge by, {count} new feedback",
            state=S.TRAIN,
            dataset_id=built.id,
            feedback_seen=newest,
        )

    async def _train(self, cycle: Cycle, recipe: Recipe) -> Cycle:
        """Fine-tune, evaluate and gate; a version that a killed scheduler judged is taken as is."""
        judged = await self._judged(cycle)
        if judged is None:
            try:
                async with self.training, self.teller.training(cycle.lob, self.out):
                    outcome = await pipeline.run(
                        cycle.lob,
                        config=self.config,
                        settings=self.settings,
                        recipe=recipe,
                        out=self.out,
                        url=self._address,
                        api_key=self.api_key,
                        dataset_id=cycle.dataset_id,
                        worker=self.worker,
                    )
            except DatasetError as exc:  # made on another machine, or deleted
                if any(entry["text"].startswith(AGAIN) for entry in cycle.log):
                    raise
                return await self._on(cycle, f"{AGAIN}: {exc.message}", state=S.CURATE)
            name, decision = outcome.version, outcome.decision.as_json()
        else:
            name, decision = judged.name, judged.decision
        words = [f"{'+' if r['passed'] else '-'} {r['text']}" for r in decision["reasons"]]
        verdict = "passed" if decision["accepted"] else "rejected"
        after = S.CANARY if recipe.flywheel.canary else S.PROMOTE
        return await self._on(
            cycle,
            f"{name} is {verdict} by the gate: {' '.join(words)}",
            state=after if decision["accepted"] else S.REJECTED,
            version=name,
        )

    async def _canary(self, cycle: Cycle, recipe: Recipe) -> Cycle:
        """Look once; begin the canary first, unless it began and was ended by someone since."""
        version, registry = _version(cycle), self._registry
        route = (await registry.routes()).get(cycle.lob)
        if route is not None and route.live == version:
            return await self._on(cycle, f"{version} is live", state=S.PROMOTED)
        history = await registry.history(cycle.lob)
        began = any(r.action is Action.CANARY and r.to_version == version for r in history)
        if began and (route is None or route.canary != version):
            return await self._on(cycle, f"{version}'s canary was ended", state=S.ROLLED_BACK)
        if why := await asked_by.overtaken(registry, cycle.lob, version):
            if began:
                at = self._address, cycle.lob, "rollback", self.api_key
                await server.rollout(*at, canary=version)
            return await self._on(cycle, why, state=S.ROLLED_BACK if began else S.REJECTED)
        decision = await watcher.run(
            cycle.lob,
            settings=self.settings,
            rules=recipe.canary,
            url=self._address,
            api_key=self.api_key,
            version=version,
            once=True,
        )
        if decision.action == "continue" and not cycle.attempts:
            return cycle
        ends = {"promote": S.PROMOTED, "roll_back": S.ROLLED_BACK}
        return await self._on(
            cycle,
            f"{decision.action}, share {decision.share:.0%}: {decision.why}",
            state=ends.get(decision.action, S.CANARY),
        )

    async def _promote(self, cycle: Cycle, _: Recipe) -> Cycle:
        version = _version(cycle)
        route = (await self._registry.routes()).get(cycle.lob)
        if route is not None and route.live == version:
            return await self._on(cycle, f"{version} is live", state=S.PROMOTED)
        if why := await asked_by.overtaken(self._registry, cycle.lob, version):
            return await self._on(cycle, why, state=S.REJECTED)
        done = await server.promote(self._address, version, self.api_key)
        return await self._on(
            cycle, f"{version} is live after {done.get('seconds', 0):.2f} s", state=S.PROMOTED
        )

    async def on_canary(self, cycle: Cycle) -> bool:
        """Whether the cycle's version is on canary now."""
        route = (await self._registry.routes()).get(cycle.lob)
        on_canary = route.canary if route else None
        return cycle.state is S.CANARY and on_canary is not None and on_canary == cycle.version

    async def _judged(self, cycle: Cycle) -> AdapterVersion | None:
        """Return the version that this cycle made and judged before it was cut short."""
        made = [
            version
            for version in await self._registry.list(cycle.lob)
            if version.dataset_id == cycle.dataset_id
            and version.created_at >= cycle.created_at
            and version.decision
        ]
        return made[-1] if made else None

    async def _on(self, cycle: Cycle, text: str, **fields: Any) -> Cycle:
        """Note a step that succeeded."""
        logger.info(f"{cycle.lob}: cycle {cycle.number}: {text}")
        fields |= {"attempts": 0, "retry_at": None, "error": None}
        return await cycles.note(self.db, cycle, text, **fields)

    async def _failed(self, cycle: Cycle, recipe: Recipe, error: Exception) -> Cycle:
        """Note a step that failed: it is tried again after a while, or the cycle has failed."""
        message = error.message if isinstance(error, SwitchboardError) else repr(error)
        rules, attempts = recipe.flywheel, cycle.attempts + 1
        over = schedule.gives_up(rules, attempts, on_canary=await self.on_canary(cycle))
        wait_s = schedule.backoff_s(rules, attempts)
        text = f"{cycle.state} failed ({attempts}): {message}. " + (
            "The cycle is given up" if over else f"Tried again in {wait_s:g} s"
        )
        logger.info(f"{cycle.lob}: cycle {cycle.number}: {text}")
        cycle = await cycles.note(
            self.db,
            cycle,
            text,
            state=S.FAILED if over else cycle.state,
            attempts=attempts,
            error=message,
            retry_at=None if over else time.time() + wait_s,
        )
        await self._alert("failed" if over else "retry", cycle, recipe)
        return cycle

    async def _alert(self, event: str, cycle: Cycle, recipe: Recipe) -> None:
        rules = recipe.flywheel
        content = {
            "event": event,
            "lob": cycle.lob,
            "cycle": cycle.number,
            "state": cycle.state,
            "version": cycle.version,
            "attempts": cycle.attempts,
            "retry_at": cycle.retry_at,
            "text": cycle.log[-1]["text"] if cycle.log else "",
            "scheduler": self.owner,
        }
        url, secret = (os.environ.get(n) for n in (rules.webhook_env, rules.webhook_secret_env))
        fault = await webhook.post(url, secret, content)
        if fault:
            logger.info(f"{cycle.lob}: {fault}")

    async def _publish(self, cycle: Cycle) -> None:
        try:
            await telling.publish_impact(self.settings, self.db, cycle.lob)
        except SwitchboardError as exc:  # the figures are of yesterday then, which the page says
            logger.info(f"{cycle.lob}: the impact was not published: {exc.message}")

    def _report(self, cycle: Cycle) -> None:
        try:
            report.write(cycle, self.out)
        except OSError as exc:  # a full disk stops no wheel
            logger.info(f"{cycle.lob}: the cycle's report was not written: {exc}")

    @property
    def _registry(self) -> Registry:
        return Registry(self.db, self.settings.adapters.uri)

    @property
    def _address(self) -> str:
        return self.url or self.settings.url


def _version(cycle: Cycle) -> str:
    if cycle.version is None:
        raise Conflict(f"cycle {cycle.number} of {cycle.lob} has no version to {cycle.state}")
    return cycle.version
