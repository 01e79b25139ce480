"""One turn of the loop for one line of business, from feedback to a judged version.

`run` reads top to bottom. Until `Registry.register`, which makes the version in one transaction,
nothing exists that anyone could serve; after it the version is a candidate, which only those who
name it can reach, until it is promoted.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import openai

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.store.database import Database
from training.data import preference_rows, selection
from training.data.dataset import Dataset
from training.evaluation import checks, gate, generate, server
from training.evaluation import scores as evaluation
from training.evaluation.scores import Scores
from training.execution import curation_process, fitting, search, trained_adapter
from training.execution.executor import Trainer, make
from training.execution.fitting import Fitting, Trained
from training.progress import each, progress
from training.recipe.recipe import Recipe
from training.reports import run as report
from training.reports.cost import Meter
from training.reports.outcome import Outcome
from training.stats.bootstrap import Interval

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


@dataclass(frozen=True)
class _Judged:
    """The hold-out's answers, scored, and what was decided by them."""

    base: Scores
    live: Scores
    candidate: Scores
    differences: Mapping[str, Interval]
    findings: checks.Findings
    decision: gate.GateDecision


async def _curate(context: _Context, dataset_id: str | None) -> Dataset:
    """Feedback to examples, the conversations drawn to judge and the golden set held out."""
    lob, recipe, store = context.lob, context.recipe, context.settings.store_address
    if dataset_id is None:
        built = await curation_process.build(store, lob, recipe, context.out / "datasets")
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
) -> _Judged:
    """Base, live and candidate answer the hold-out through one server; the gate decides."""
    lob, recipe = context.lob, trained.recipe
    served = context.settings.served_name
    async with openai.AsyncOpenAI(
        base_url=f"{address}/v1", api_key=context.api_key or "none", max_retries=4
    ) as client:
        models = [served, trained.parent or served, version]
        scores = await _scores(client, models, built, recipe)
        base, live, candidate = map(scores.__getitem__, models)
        context.meter.end("evaluation")
        new, old = evaluation.by_part(candidate, live, built, recipe.evaluation)
        seen = new, candidate.rates, old, built.manifest.get("coverage")
        findings = await guarded.run(client, built, base=base, live=live, candidate=candidate)
    decision = gate.decide(recipe.gate, *seen, against=models[1]).also(findings.reasons)
    figures = report.figures(trained.result, base, live, candidate) | findings.as_json()
    await context.registry.set_metrics(version, figures, decision.as_json())
    if not decision.accepted:
        await context.registry.reject(version, decision.as_json())
    for one in decision.reasons:
        logger.info(f"{lob}: {'passed' if one.passed else 'failed'}: {one.text}")
    return _Judged(base, live, candidate, new, findings, decision)


async def _scores(
    client: openai.AsyncOpenAI, models: list[str], built: Dataset, recipe: Recipe
) -> dict[str, Scores]:
    """Let each model answer the hold-out, one that is named twice once; returns scores by name."""
    found: dict[str, Scores] = {}
    for model in dict.fromkeys(models):
        with progress(f"  {built.manifest['lob']}: {model} answers") as advance:
            asked = client, model, built.holdout, recipe.evaluation
            outputs = await generate.generate(*asked, on_output=each(advance, len(built.holdout)))
        found[model] = evaluation.score(model, built.holdout, outputs, recipe.evaluation)
    return found
