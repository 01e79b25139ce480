"""One turn of the loop for one line of business, from feedback to a judged version.

`run` reads top to bottom. Until `Registry.register`, which makes the version in one transaction,
nothing exists that anyone could serve; after it the version is a candidate, which only those who
name it can reach, until it is promoted.
"""

import asyncio
import logging
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.errors import Conflict
from serving.store.database import Database
from training import judging
from training.data import preference_rows, selection
from training.data.dataset import Dataset
from training.evaluation import checks, server
from training.execution import asked_by, curation_process, fitting, search, trained_adapter
from training.execution.executor import Trainer, make
from training.execution.fitting import Fitting, Trained
from training.judging import Judged, Trio
from training.recipe.recipe import Recipe
from training.reports import run as report
from training.reports.cost import Meter
from training.reports.outcome import Outcome

logger = logging.getLogger(__name__)
API_KEY = "SWITCHBOARD_API_KEY"


async def run(
    lob: str,
    *,
    config: Path,
    settings: Settings,
    recipe: Recipe,
    out: Path = Path("runs"),
    url: str | None = None,
    api_key: str | None = None,
    promote: bool = False,
    dataset_id: str | None = None,
    worker: Trainer | None = None,
    trials: int = 0,
    db: Database | None = None,
) -> Outcome:
    """Train, register, compare and judge an adapter.

    Args:
        lob: The line of business.
        config: The server's configuration file, in case a private server must be started.
        settings: Its content.
        recipe: How to train and judge.
        out: Folder for datasets and runs.
        url: The running server, without /v1; None tries the configured address, then a private one.
        api_key: Of the role trainer, or admin to promote; None takes the environment's.
        promote: Whether to make the version live if it passes.
        dataset_id: A dataset's id, or its beginning; None builds one from all feedback.
        worker: A trainer to use; None starts the one that the recipe's `resources` name.
        trials: Recipes to try, the given one first; 0 trains that one only.
        db: The store, if it is open already.

    Raises:
        NotFound: The line of business is not configured, or there is no such dataset.
        DatasetError: It is another line's, its files are gone or changed, or rows were erased.
        RecipeError: The server has no room for the recipe's rank, or a guard's file is wrong.
        TooLittleData: There is not enough feedback yet.
        TrainingError: The fine-tuning or the comparison could not finish.
        Conflict: It passed, but a prompt was promoted or rolled back meanwhile; it is a candidate.
    """
    settings.require_lob(lob)
    trained_adapter.check_rank(recipe, settings)
    if trials:
        search.check(recipe, settings.adapters.max_rank)
    guarded = checks.prepare(recipe, lob)
    async with AsyncExitStack() as stack:
        if db is None:
            db = Database(settings.store_address)
            await db.open()
            stack.push_async_callback(db.close)
        context = _Context(
            lob=lob,
            settings=settings,
            recipe=recipe,
            out=out,
            db=db,
            registry=Registry(db, settings.adapters.uri),
            base_hash=artifacts.model_hash(settings.model),
            api_key=api_key or os.environ.get(API_KEY) or None,
        )
        if url is not None:
            await server.require(url, config)
        built = await _curate(context, dataset_id)
        trainer = make(recipe.resources, settings) if worker is None else worker
        if worker is None:
            await stack.enter_async_context(trainer)
        trained = await fitting.train(context, built, trainer, stack, trials=trials)
        context.meter.end("training")
        version = await fitting.register(context, built, trained)
        address = await stack.enter_async_context(server.running(url, config, settings))
        judged = await _judge(context, built, trained, version.name, address, guarded)
        await selection.require_whole(db, built)
        rollout = None
        if judged.decision.accepted and promote:
            if why := await asked_by.overtaken(context.registry, lob, version.name):
                raise Conflict(f"{version.name} passed its gate but was not promoted: {why}")
            rollout = await server.promote(address, version.name, context.api_key)
            logger.info(f"{lob}: {version.name} is live")
        context.meter.end("decision")
        outcome = Outcome(
            lob=lob,
            version=version.name,
            recipe=trained.recipe,
            dataset=built,
            decision=judged.decision,
            differences=judged.differences,
            base=judged.base,
            live=judged.live,
            candidate=judged.candidate,
            training=trained.result,
            rollout=rollout,
            folder=out / version.name,
            guards=judged.findings,
            seconds=time.monotonic() - context.began,
            cost=context.meter.cost(trained.result),
            search=trained.trials,
        )
        await report.publish(db, outcome)
        return outcome


@dataclass(frozen=True, kw_only=True)
class _Context(Fitting):
    """What every stage of a run knows."""

    api_key: str | None
    meter: Meter = field(default_factory=Meter)
    began: float = field(default_factory=time.monotonic)


async def _curate(context: _Context, dataset_id: str | None) -> Dataset:
    """Feedback to examples, the conversations drawn to judge and the golden set held out."""
    lob, recipe, store = context.lob, context.recipe, context.settings.store_address
    if dataset_id is None:
        live = await asked_by.live(context.registry, lob)
        form = await asked_by.own(live, context.settings)
        root = context.out / "datasets"
        built = await curation_process.build(store, lob, recipe, root, form=form)
    else:
        built = await selection.find(context.db, lob, dataset_id)
    await asyncio.to_thread(preference_rows.require, lob, recipe, built.folder)
    learned, held = len(built.train), len(built.holdout)
    logger.info(f"{lob}: {learned} examples, {held} held out; dataset {built.id[:12]}")
    context.meter.end("dataset")
    return built


async def _judge(
    context: _Context,
    built: Dataset,
    trained: Trained,
    version: str,
    address: str,
    guarded: checks.Guards,
) -> Judged:
    """Base, live and candidate answer the hold-out; the candidate has inherited live's prompts."""
    served = context.settings.served_name
    live = trained.parent or served
    parent = await context.registry.get(trained.parent) if trained.parent else None
    form = await asked_by.own(parent, context.settings)
    if form is not None:
        others = sum(not form.can_ask(one) for one in built.holdout)
        logger.info(f"{context.lob}: {others} of {len(built.holdout)} held-out examples as stored")
    return await judging.judge(
        context.registry,
        Trio(served, live, version, dict.fromkeys((live, version), form) if form else {}),
        built,
        trained.recipe,
        address=address,
        api_key=context.api_key,
        guarded=guarded,
        training=trained.result,
        meter=context.meter,
    )
