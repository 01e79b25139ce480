"""The training methods: which stages a job takes, each from the adapter of the one before."""

import json
import os
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from training.errors import TooLittleData, TrainingError
from training.recipe.recipe import Recipe
from training.trainers import common, dpo, kto, sft
from training.trainers.job import Job, Result

_TRAIN = {"sft": sft.train, "dpo": dpo.train, "kto": kto.train}
_DONE = "result.json"


def answer(job_file: Path) -> dict[str, Any]:
    """Do the job in a file; whatever goes wrong with it is the answer."""
    try:
        job = Job(**json.loads(job_file.read_text(encoding="utf-8")))
        return {"result": asdict(train(job))}
    except TrainingError as exc:
        return {"error": exc.message, "too_little_data": isinstance(exc, TooLittleData)}
    except Exception as exc:
        traceback.print_exc()
        return {"error": f"the trainer stopped: {type(exc).__name__}: {exc}"}


def train(job: Job) -> Result:
    """Fine-tune a LoRA by the recipe's method.

    A stage that is done leaves its adapter and its figures, so a job killed in a later one starts
    that one again, from its own last checkpoint.

    Raises:
        FineTuneFailed: A stage failed.
        TooLittleData: There is too little for a stage.
    """
    recipe = Recipe.model_validate(job.recipe)
    start = Path(job.start) if job.start else None
    *before, (last, _) = recipe.stages
    done: list[Result] = []
    for stage, _ in before:
        out = Path(job.out) / stage
        finished = out / _DONE
        if finished.exists():
            done.append(Result(**json.loads(finished.read_text(encoding="utf-8"))))
        else:
            done.append(_TRAIN[stage](common.prepare(job, recipe, stage, out, start)))
            if int(os.environ.get("RANK", "0")) == 0:  # of several processes, the first writes
                _write(finished, done[-1])
        start = Path(done[-1].adapter)
    setting = common.prepare(job, recipe, last, Path(job.out), start)
    result = _TRAIN[last](setting)
    for earlier in reversed(done):
        result = joined(earlier, result)
    return result


def joined(first: Result, second: Result) -> Result:
    """Return the figures of two stages as those of one job."""

    def later(pairs: list[tuple[int, float]]) -> list[tuple[int, float]]:
        return [(step + first.steps, value) for step, value in pairs]

    return replace(
        second,
        examples=first.examples + second.examples,
        too_long=first.too_long + second.too_long,
        tokens=first.tokens + second.tokens,
        steps=first.steps + second.steps,
        seconds=first.seconds + second.seconds,
        cpu_seconds=first.cpu_seconds + second.cpu_seconds,
        peak_memory_bytes=max(first.peak_memory_bytes, second.peak_memory_bytes),
        losses=[*first.losses, *later(second.losses)],
        validation_losses=later(second.validation_losses),
        margins=later(second.margins),
    )


def _write(file: Path, result: Result) -> None:
    """Write a stage's figures, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(result)) + "\n", encoding="utf-8")
    part.rename(file)
