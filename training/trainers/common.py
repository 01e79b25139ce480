"""What every training method does alike: device, trainer arguments, checkpoints, figures.

A stage (SFT, DPO or KTO) prepares its rows, builds its TRL trainer with `arguments`, and hands it
to `finish`, which resumes from the last checkpoint, trains, and writes the adapter. On a CPU the
same job gives the same bytes, also when it was killed and resumed in between.
"""

import json
import math
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data import validation_split
from training.errors import FineTuneFailed, TooLittleData
from training.progress import show_progress
from training.recipe.methods import OptimizationConfig
from training.recipe.recipe import Recipe, Stage
from training.trainers import cpu, lora, tracking
from training.trainers.job import Job, Result

ADAPTER = "adapter"
CHECKPOINTS = "checkpoints"
CHECKPOINT_STEPS = 100
"""Unless the recipe says otherwise; a LoRA adapter and its optimizer take well under a second."""
TOKENS = "tokens"


@dataclass(frozen=True)
class StageContext:
    """Where and how one stage runs.

    Args:
        job: The job.
        recipe: Its recipe, read.
        stage: Which stage this is.
        rules: The stage's section.
        out: The stage's folder.
        start: The PEFT folder to go on from, None for a fresh adapter.
        cuda: Whether on a GPU.
        half: Whether in bfloat16.
        began: time.monotonic() at its start.
        began_cpu: time.process_time() at its start.
    """

    job: Job
    recipe: Recipe
    stage: Stage
    rules: OptimizationConfig
    out: Path
    start: Path | None
    cuda: bool
    half: bool
    began: float = field(default_factory=time.monotonic)
    began_cpu: float = field(default_factory=time.process_time)

    def policy(self) -> dict[str, Any]:
        """Return what the trainer takes as the model; see `adapter_model.policy`."""
        return lora.policy(
            self.job.base_model,
            self.recipe.lora,
            start=self.start,
            half=self.half,
            device=self.rules.device,
            gradient_checkpointing=self.rules.gradient_checkpointing,
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a stage.

    Args:
        learned: Those to learn from, all within `max_length`.
        watched: Those kept back to decide when to stop.
        too_long: How many were left out because they are longer.
        tokens: Tokens of those to learn from.
    """

    learned: list[dict[str, Any]]
    watched: list[dict[str, Any]]
    too_long: int
    tokens: int


def prepare(job: Job, recipe: Recipe, stage: Stage, out: Path, start: Path | None) -> StageContext:
    """Choose the device, quieten the libraries and fix the seeds."""
    import datasets
    import torch
    from transformers import set_seed
    from transformers.utils import logging as transformers_logging

    rules = dict(recipe.stages)[stage]
    if rules.threads is not None:
        torch.set_num_threads(rules.threads)
    cuda = torch.cuda.is_available() if rules.device == "auto" else rules.device == "cuda"
    wanted = cuda if rules.dtype == "auto" else rules.dtype == "bfloat16"
    half = wanted and cpu.computes_in_bfloat16(cuda=cuda)
    if rules.dtype == "bfloat16" and not half:
        warnings.warn(
            f"{stage}.dtype bfloat16: this device only emulates it; float32 is used", stacklevel=2
        )
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
    set_seed(rules.seed)
    return StageContext(job, recipe, stage, rules, out, start, cuda, half)


def arguments(setting: StageContext) -> dict[str, Any]:
    """Return the arguments that all of TRL's configurations share."""
    rules, looks = setting.rules, setting.recipe.validation
    every = CHECKPOINT_STEPS if rules.checkpoint_steps is None else rules.checkpoint_steps
    saving: dict[str, Any] = {
        "save_strategy": "steps" if every else "no",
        "save_steps": every,
    }
    if looks.share:
        strategy = "steps" if looks.steps else "epoch"
        saving = {
            "save_strategy": strategy,
            "save_steps": looks.steps or 0,
            "eval_strategy": strategy,
            "eval_steps": looks.steps,
            "per_device_eval_batch_size": rules.batch_size,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
            "restore_callback_states_from_checkpoint": True,  # patience, after a kill
        }
    elif setting.job.validation_file is not None:
        saving |= {"eval_strategy": "epoch", "per_device_eval_batch_size": rules.batch_size}
    return {
        "output_dir": str(setting.out / CHECKPOINTS),
        "num_train_epochs": rules.epochs,
        "max_steps": rules.max_steps or -1,
        "per_device_train_batch_size": rules.batch_size,
        "gradient_accumulation_steps": rules.gradient_accumulation,
        "learning_rate": rules.learning_rate,
        "lr_scheduler_type": rules.scheduler,
        "warmup_steps": rules.warmup_share,
        "weight_decay": rules.weight_decay,
        "max_length": None,
        "data_seed": rules.seed,
        "gradient_checkpointing": rules.gradient_checkpointing,
        "bf16": setting.half,
        "use_cpu": not setting.cuda,
        "seed": rules.seed,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        **saving,
    }


def rows(
    setting: StageContext,
    fitting: Sequence[dict[str, Any]],
    keys: Sequence[str],
    too_long: int,
    validation: Sequence[dict[str, Any]] = (),
) -> Rows:
    """Divide rows into those to learn from and those to look at.

    Args:
        setting: The stage's setting.
        fitting: Rows within `max_length`, with their lineage and, under TOKENS, their length.
        keys: What the trainer reads of them.
        too_long: How many did not fit.
        validation: Rows of the job's validation file that fit.

    Raises:
        TooLittleData: Validation leaves nothing to learn from or to look at.
    """
    learned, watched = validation_split.split(fitting, setting.recipe.validation.share)
    watched = [*watched, *validation]
    if setting.job.validation_file is not None and not validation:
        raise TooLittleData(
            f"{setting.job.lob}: no row of the validation file fits into "
            f"{setting.rules.max_length} tokens"
        )
    tokens = sum(row[TOKENS] for row in learned)
    plain = [[{key: row[key] for key in keys} for row in part] for part in (learned, watched)]
    return Rows(plain[0], plain[1], too_long, tokens)


def datasets_of(given: Rows) -> dict[str, Any]:
    """Return what a trainer learns from and looks at."""
    from datasets import Dataset

    return {
        "train_dataset": Dataset.from_list(given.learned),
        "eval_dataset": Dataset.from_list(given.watched) if given.watched else None,
    }


def finish(trainer: Any, setting: StageContext, given: Rows) -> Result:
    """Train, from the last checkpoint if there is one, and write the adapter.

    Raises:
        FineTuneFailed: The loss is not finite.
    """
    from transformers import EarlyStoppingCallback

    job, checkpoints = setting.job, setting.out / CHECKPOINTS
    if setting.recipe.validation.share:
        trainer.add_callback(EarlyStoppingCallback(setting.recipe.validation.patience))
    run = f"{Path(job.out).name}-{setting.stage}"
    for callback in tracking.callbacks(setting.recipe.tracking, job.lob, run):
        trainer.add_callback(callback)
    trainer.add_callback(tracking.step_log(setting.out / tracking.STEPS))
    show_progress(trainer, f"{job.lob}: {setting.stage}")
    parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    checkpoint = last_checkpoint(checkpoints)
    if checkpoint is not None:
        _restore_policy(trainer, Path(checkpoint))
    trainer.train(resume_from_checkpoint=checkpoint)

    losses = _logged(trainer, "loss")
    if not losses or not all(math.isfinite(loss) for _, loss in losses):
        raise FineTuneFailed(
            f"{job.lob}: the loss became infinite or not a number; "
            f"lower {setting.stage}.learning_rate"
        )
    watched = _logged(trainer, "eval_loss")
    folder = lora.save(trainer, job, setting.out / ADAPTER)
    if trainer.args.should_save:
        shutil.rmtree(checkpoints, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()  # of several processes, only the first has written
    return Result(
        adapter=str(folder),
        examples=len(given.learned),
        too_long=given.too_long,
        tokens=given.tokens,
        steps=trainer.state.global_step,
        seconds=time.monotonic() - setting.began,
        cpu_seconds=time.process_time() - setting.began_cpu,
        device="cuda" if setting.cuda else "cpu",
        parameters=parameters,
        peak_memory_bytes=_peak_memory_bytes(setting.cuda),
        losses=losses,
        validation_loss=_adapters_loss(setting, watched),
        validation_losses=watched,
        margins=[m for m in _logged(trainer, "rewards/margins") if math.isfinite(m[1])],
    )


def _restore_policy(trainer: Any, checkpoint: Path) -> None:
    """Have a resumed run begin with the checkpoint's policy, where there is a reference beside it.

    transformers before 5.23 then reads the reference only (`Trainer._load_from_checkpoint`) and
    begins with the policy as it was at the stage's start.
    """
    from transformers import TrainerCallback

    class Restore(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
            lora.load(trainer.accelerator.unwrap_model(model), checkpoint)

    if any((folder / lora.WEIGHTS).exists() for folder in checkpoint.iterdir() if folder.is_dir()):
        trainer.add_callback(Restore())


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint; the trainer writes trainer_state.json last."""
    found = [(int(path.name.rpartition("-")[2]), path) for path in folder.glob("checkpoint-*")]
    for _, path in sorted(found, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def _adapters_loss(setting: StageContext, watched: Sequence[tuple[int, float]]) -> float | None:
    if not watched:
        return None
    return min(loss for _, loss in watched) if setting.recipe.validation.share else watched[-1][1]


def _logged(trainer: Any, name: str) -> list[tuple[int, float]]:
    return [(e["step"], float(e[name])) for e in trainer.state.log_history if name in e]


def _peak_memory_bytes(cuda: bool) -> int:
    if cuda:
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
