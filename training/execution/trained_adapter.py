"""What a training run makes: an adapter that the server can serve, all of it, trained once.

A run that fails later, as where no server is there to evaluate by, leaves its work folder with what
training said and the version that was registered; the next run of the same inputs goes on there.
"""

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.errors import SwitchboardError
from serving.store import audit
from serving.store.database import Database
from serving.store.records import AdapterVersion, State
from training.errors import FineTuneFailed, RecipeError
from training.execution.executor import Trainer
from training.recipe.recipe import Recipe
from training.trainers.job import Job, Result

_TRAINED = "trained.json"


def check_rank(recipe: Recipe, settings: Settings) -> None:
    """Refuse a recipe before it is trained by whose rank the server could serve nothing.

    Raises:
        RecipeError: It exceeds the server's.
    """
    if recipe.lora.rank > settings.adapters.max_rank:
        raise RecipeError(
            f"lora.rank: {recipe.lora.rank} exceeds the server's adapters.max_rank of "
            f"{settings.adapters.max_rank}. Fix: lower the one or raise the other"
        )


async def check(result: Result, settings: Settings, base_hash: str) -> None:
    """Check a trained adapter as an imported one is checked, before it becomes a version.

    Args:
        result: What training gave.
        settings: The server's configuration.
        base_hash: The base that it was trained on.

    Raises:
        FineTuneFailed: It would not be served, or have no effect or only part of one; names why.
    """
    try:
        await asyncio.to_thread(
            artifacts.check_adapter,
            Path(result.adapter),
            base_hash=base_hash,
            max_rank=settings.adapters.max_rank,
            base_folder=artifacts.model_folder(settings.model),
        )
    except SwitchboardError as exc:
        raise FineTuneFailed(f"the trained adapter cannot be served: {exc.message}") from exc


async def train(trainer: Trainer, job: Job, settings: Settings) -> Result:
    """Train, unless an earlier run of the same job has, and left an adapter that can be served.

    Args:
        trainer: What does the job.
        job: The job; its folder is named by all that goes into it.
        settings: The server's configuration.

    Raises:
        FineTuneFailed: The job failed.
        TooLittleData: There is too little for the job's method.
    """
    work = Path(job.out)
    if said := await asyncio.to_thread(_read, work):
        result = Result(**said["result"])
        try:
            await check(result, settings, job.base_hash)
        except FineTuneFailed:
            pass  # its files are gone, or half there
        else:
            return result
    result = await trainer.train(job)
    await asyncio.to_thread(_write, work, {"result": asdict(result), "version": None})
    return result


async def begun(db: Database, job: Job) -> None:
    """Note in the audit that a training begins, and on what."""
    detail = {"dataset": job.dataset_id, "from": job.start_version, "by": audit.operator()}
    await audit.write(db, None, "train", job.lob, detail)


async def registered(
    registry: Registry, work: Path | None, parent: str | None
) -> AdapterVersion | None:
    """Return the version that an earlier run made of this adapter and did not judge.

    Args:
        registry: Where versions are.
        work: The job's folder; None where a search chose among several.
        parent: The version that is live now; a version of another parent is none of this run's.
    """
    said = await asyncio.to_thread(_read, work) if work else None
    name = said.get("version") if said else None
    found = await registry.get(name) if name else None
    if found is None or found.state is not State.CANDIDATE or found.decision:
        return None
    return found if found.parent == parent else None


async def note(work: Path | None, version: str) -> None:
    """Note which version was made of the adapter in a job's folder."""
    if work is not None and (said := await asyncio.to_thread(_read, work)):
        await asyncio.to_thread(_write, work, {**said, "version": version})


def _read(work: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((work / _TRAINED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def _write(work: Path, content: dict[str, Any]) -> None:
    """Write what is known, whole or not at all."""
    work.mkdir(parents=True, exist_ok=True)
    temporary = work / f"{_TRAINED}.part"
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    os.replace(temporary, work / _TRAINED)
