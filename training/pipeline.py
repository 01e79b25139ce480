"""One turn of the loop for one line of business, from feedback to a judged version.

`run` reads top to bottom. Until `Registry.register`, which makes the version in one transaction,
nothing exists that anyone could serve; after it the version is a candidate, which only those who
name it can reach, until it is promoted.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import openai

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.errors import Conflict
from serving.store.database import Database
from training.data import dataset, distillation, preference_rows, repository
from training.data.dataset import Dataset
from training.errors import DatasetError, RecipeError
from training.evaluation import checks, gate, generate, server
from training.evaluation import scores as evaluation
from training.evaluation.scores import Scores
from training.execution import search
from training.execution.executor import Trainer, make
from training.progress import each, progress
from training.recipe.recipe import Recipe
from training.reports import run as report
from training.reports.cost import Meter
from training.reports.outcome import Outcome
from training.trainers import warm_start
from training.trainers.job import Job

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
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Train, register, compare and judge an adapter.

    Args:
        lob: The line of business.
        config: The server's configuration file, in case a private server must be started.
        settings: Its content.
        recipe: How to train and judge.
        out: Folder for datasets and runs.
        url: The running server, without /v1; None tries the configured address, then a private one.
        api_key: A key with the trainer role, or admin to promote; None takes it from the
            environment.
        promote: Whether to make the version live if it passes.
        dataset_id: A dataset to learn from, or the beginning of its id; None builds one from all
            feedback in the store.
        worker: A trainer to use; None starts the one that the recipe's `resources` name.
        trials: How many recipes to try, the given one first; 0 trains that one only.
        say: Told about each step.

    Raises:
        NotFound: The line of business is not configured, or there is no such dataset.
        DatasetError: The dataset belongs elsewhere, or its files are gone or changed.
        RecipeError: The server has no room for the recipe's rank, or a guard's file is wrong.
        TooLittleData: There is not enough feedback yet.
        TrainingError: The fine-tuning or the comparison could not finish.
    """
    begin, meter = time.monotonic(), Meter()
    api_key = api_key or os.environ.get(API_KEY) or None
    _check(lob, settings, recipe)
    if trials:
        search.check(recipe, settings.adapters.max_rank)
    guarded = checks.prepare(recipe, lob)

    async with AsyncExitStack() as stack:
        db = Database(settings.store.url)
        await db.open()
        stack.push_async_callback(db.close)
        registry = Registry(db, settings.adapters.uri)

        if url is not None:
            await server.require(url, config)

        # Curate: feedback to examples, the newest conversations and the golden set held out.
        built = await _dataset(db, lob, recipe, dataset_id, out / "datasets")
        preference_rows.require(lob, recipe, built.folder)
        trainer = make(recipe.resources, settings) if worker is None else worker
        if worker is None:
            await stack.enter_async_context(trainer)
        say(
            f"{lob}: {len(built.train)} examples to learn from, {len(built.holdout)} held out; "
            f"dataset {built.id[:12]}"
        )
        meter.end("dataset")

        # Train: a PEFT folder, made by a process of its own.
        base_hash = artifacts.model_hash(settings.model)
        route = (await registry.routes()).get(lob)
        live_name = route.live if route else None
        start = None
        if recipe.start == "live" and live_name is not None:
            cache = settings.adapters.cache_dir
            start = await warm_start.fetch(registry, live_name, base_hash, recipe.lora, cache)
            say(f"{lob}: goes on from {live_name}")
        inputs = [built.id, base_hash, live_name if start else None]
        work = stack.enter_context(_work_folder(out, lob, inputs, recipe))
        job = Job(
            lob=lob,
            base_model=settings.model,
            base_hash=base_hash,
            dataset_id=built.id,
            train_file=str((built.folder / dataset.TRAIN).absolute()),
            out=str(work),
            recipe=recipe.model_dump(mode="json"),
            preference_file=str((built.folder / dataset.PREFERENCE).absolute()),
            kto_file=str((built.folder / dataset.KTO).absolute()),
            start=str(start) if start else None,
            start_version=live_name if start else None,
        )
        tried: tuple[search.SearchTrial, ...] = ()
        if trials:
            best = await search.run(trainer, job, recipe, trials, say)
            recipe, trained, tried = best.recipe, best.result, best.trials
        else:
            trained = await trainer.train(job)
        say(f"{lob}: {trained.steps} steps in {trained.seconds:.0f} s on {trained.device}")
        meter.end("training")

        # Register: from here the version exists, as a candidate.
        number = await registry.reserve(lob)
        version = await registry.register(
            lob,
            number,
            Path(trained.adapter),
            parent=live_name,
            base_model=settings.model,
            base_hash=base_hash,
            dataset_id=built.id,
            recipe=recipe.model_dump(mode="json"),
            metrics={},
            rank=recipe.lora.rank,
        )

        # Evaluate: base, live and candidate answer the hold-out through the same server.
        address = await stack.enter_async_context(server.running(url, config, settings, say))
        client = openai.AsyncOpenAI(
            base_url=f"{address}/v1", api_key=api_key or "none", max_retries=4
        )
        stack.push_async_callback(client.close)
        live_model = live_name or settings.served_name
        models = [settings.served_name, live_model, version.name]
        scores = await _scores(client, models, built, recipe)
        base, live, candidate = (scores[model] for model in models)
        meter.end("evaluation")

        # Judge: the candidate against what serves.
        differences = evaluation.differences(candidate, live, built.holdout, recipe.evaluation)
        decision = gate.decide(recipe.gate, differences, against=live_model, rates=candidate.rates)
        found = await guarded.run(client, built, base=base, live=live, candidate=candidate)
        decision = decision.also(found.reasons)
        figures = report.figures(trained, base, live, candidate) | found.as_json()
        await registry.set_metrics(version.name, figures, decision.as_json())
        if not decision.accepted:
            await registry.reject(version.name, decision.as_json())
        for reason in decision.reasons:
            say(f"{lob}: {'passed' if reason.passed else 'failed'}: {reason.text}")

        # Promote, if asked to and allowed to.
        rollout = None
        if decision.accepted and promote:
            rollout = await server.promote(address, version.name, api_key)
            say(f"{lob}: {version.name} is live")
        meter.end("decision")

        outcome = Outcome(
            lob=lob,
            version=version.name,
            recipe=recipe,
            dataset=built,
            decision=decision,
            differences=differences,
            base=base,
            live=live,
            candidate=candidate,
            training=trained,
            rollout=rollout,
            folder=out / version.name,
            guards=found,
            seconds=time.monotonic() - begin,
            cost=meter.cost(trained),
            search=tried,
        )
        report.write(outcome)
        return outcome


async def _dataset(
    db: Database, lob: str, recipe: Recipe, dataset_id: str | None, root: Path
) -> Dataset:
    """Return the dataset that was named, or build what the recipe asks for."""
    if dataset_id is not None:
        return await _found(db, lob, dataset_id)
    if recipe.student is not None:
        return await distillation.build(db, lob, recipe.curation, recipe.student, root)
    return await repository.build(db, lob, recipe.curation, root)


async def _found(db: Database, lob: str, dataset_id: str) -> Dataset:
    found = await repository.find(db, dataset_id)
    if found.manifest["lob"] != lob:
        raise DatasetError(f"dataset {found.id[:16]} belongs to {found.manifest['lob']}")
    if not found.train or not found.holdout:
        raise DatasetError(
            f"dataset {found.id[:16]} has {len(found.train)} examples to learn from and "
            f"{len(found.holdout)} to judge; a training run needs both"
        )
    return found


async def _scores(
    client: openai.AsyncOpenAI, models: list[str], built: Dataset, recipe: Recipe
) -> dict[str, Scores]:
    """Let each model answer the hold-out, one that is named twice once; returns scores by name."""
    found: dict[str, Scores] = {}
    for model in dict.fromkeys(models):
        with progress(f"  {built.manifest['lob']}: {model} answers") as advance:
            done = each(advance, len(built.holdout))
            outputs = await generate.generate(
                client, model, built.holdout, recipe.evaluation, on_output=done
            )
        found[model] = evaluation.score(model, built.holdout, outputs, recipe.evaluation)
    return found


@contextmanager
def _work_folder(out: Path, lob: str, inputs: list[str | None], recipe: Recipe) -> Iterator[Path]:
    """Hold the folder of one training job; it is removed when the run is over.

    It is named by what goes in, so a run that repeats a killed one finds its checkpoints.
    """
    content = recipe.model_dump_json(exclude={"curation", "evaluation", "gate", "canary"})
    digest = hashlib.sha256(json.dumps([*inputs, content]).encode()).hexdigest()
    name = f"{lob}-{digest[:16]}"
    folder = (out / "work" / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Conflict(f"{lob} is being trained on the same data by another process") from exc
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def _check(lob: str, settings: Settings, recipe: Recipe) -> None:
    """Refuse early what would fail late."""
    settings.require_lob(lob)
    if recipe.lora.rank > settings.adapters.max_rank:
        raise RecipeError(
            f"lora.rank: {recipe.lora.rank} exceeds the server's adapters.max_rank of "
            f"{settings.adapters.max_rank}. Fix: lower the one or raise the other"
        )
