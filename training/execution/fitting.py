"""From a dataset to a candidate version: train, check, register.

Until `Registry.register`, which makes the version in one transaction, nothing exists that anyone
could serve; after it the version is a candidate, which only those who name it can reach.
"""

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from serving import chat_template
from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.store.database import Database
from serving.store.records import AdapterVersion
from training.data import dataset, selection
from training.data.dataset import Dataset
from training.execution import asked_by, search, trained_adapter
from training.execution.executor import Trainer
from training.execution.work_folder import work_folder
from training.recipe.recipe import Recipe
from training.trainers import warm_start
from training.trainers.job import Job, Result

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What training knows of a run.

    Args:
        lob: The line of business.
        settings: The server's configuration.
        recipe: How to train.
        out: Folder of datasets and runs.
        db: The store.
        registry: The adapter registry.
        base_hash: The base's hash.
        name: Whose run it is, where two may learn the same by the same recipe; None: they are one.
    """

    lob: str
    settings: Settings
    recipe: Recipe
    out: Path
    db: Database
    registry: Registry
    base_hash: str
    name: str | None = None


@dataclass(frozen=True)
class Trained:
    """What training gave, in `work`; `recipe` is the best trial's where there was a search."""

    recipe: Recipe
    result: Result
    parent: str | None
    trials: tuple[search.SearchTrial, ...] = ()
    work: Path | None = None


async def train(
    run: Fitting,
    built: Dataset,
    trainer: Trainer,
    stack: AsyncExitStack,
    *,
    trials: int = 0,
    validation_file: Path | None = None,
) -> Trained:
    """Make a PEFT folder by a process of its own.

    Args:
        run: The run.
        built: The dataset.
        trainer: What does the job.
        stack: Holds the job's folder until the run ends; it stays if that fails.
        trials: Recipes to try, the given one first; 0 trains that one only.
        validation_file: Rows as the method learns from, to look at while training; absolute.

    Raises:
        Conflict: Another process trains on the same.
        FineTuneFailed: The job failed.
        TooLittleData: There is too little for the job's method.
    """
    lob, settings, recipe = run.lob, run.settings, run.recipe
    version = await asked_by.live(run.registry, lob)
    live, start = version.name if version else None, None
    # A version that is a prompt alone, or another model, has no weights to go on from.
    if recipe.start == "live" and version is not None and live is not None and not is_bare(version):
        start = await warm_start.fetch(
            run.registry, live, run.base_hash, recipe.lora, settings.adapters.cache_dir
        )
        logger.info(f"{lob}: goes on from {live}")
    form = chat_template.configured(settings.engine)
    inputs = [built.id, run.base_hash, live if start else None, *([repr(form)] * any(form))]
    inputs += [run.name] if run.name else []
    work = stack.enter_context(work_folder(run.out, lob, inputs, recipe))
    job = Job(
        lob=lob,
        base_model=settings.model,
        base_hash=run.base_hash,
        dataset_id=built.id,
        train_file=str((built.folder / dataset.TRAIN).absolute()),
        out=str(work),
        recipe=recipe.model_dump(mode="json"),
        preference_file=str((built.folder / dataset.PREFERENCE).absolute()),
        kto_file=str((built.folder / dataset.KTO).absolute()),
        validation_file=str(validation_file) if validation_file else None,
        start=str(start) if start else None,
        start_version=live if start else None,
        chat_template=form[0],
        chat_template_kwargs=form[1],
    )
    await trained_adapter.begun(run.db, job)
    if trials:
        best = await search.run(trainer, job, recipe, trials)
        trained = Trained(best.recipe, best.result, live, best.trials)
    else:
        done = await trained_adapter.train(trainer, job, settings)
        trained = Trained(recipe, done, live, work=work)
    said = trained.result
    logger.info(f"{lob}: {said.steps} steps in {said.seconds:.0f} s on {said.device}")
    return trained


async def register(run: Fitting, built: Dataset, trained: Trained) -> AdapterVersion:
    """Make the version, as a candidate with live's own prompts, unless an earlier run has.

    Raises:
        FineTuneFailed: The adapter could not be served.
        DatasetError: Rows of its dataset were erased meanwhile.
    """
    await trained_adapter.check(trained.result, run.settings, run.base_hash)
    await selection.require_whole(run.db, built)
    made = await trained_adapter.registered(run.registry, trained.work, trained.parent)
    if made is None:
        parent = await run.registry.get(trained.parent) if trained.parent else None
        files = await asked_by.folder(parent, run.settings) if parent and parent.prompts else None
        with asked_by.inheriting(Path(trained.result.adapter), files) as folder:
            made = await run.registry.register(
                run.lob,
                await run.registry.reserve(run.lob),
                folder,
                parent=trained.parent,
                base_model=run.settings.model,
                base_hash=run.base_hash,
                dataset_id=built.id,
                recipe=trained.recipe.model_dump(mode="json"),
                metrics={},
                rank=trained.recipe.lora.rank,
            )
    await trained_adapter.note(trained.work, made.name)
    return made


def is_bare(version: AdapterVersion) -> bool:
    """Whether a version has no weights to go on from: it is a prompt alone, or another model."""
    alone = "prompt" in version.recipe and version.recipe.get("start") != "live"
    return alone or version.upstream is not None
