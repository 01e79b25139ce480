"""Supervised fine-tuning of a LoRA with TRL.

`train` turns a dataset into a PEFT folder that vLLM loads. It is deterministic: on a CPU the same
job gives the same bytes, also when it was killed and resumed from a checkpoint in between.
Everything heavy is imported inside, so that others can import the job's and the result's shape.
"""

import json
import math
import shutil
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.errors import FineTuneFailed
from training.settings import Recipe

ADAPTER = "adapter"
LINEAGE = "switchboard.json"


@dataclass(frozen=True)
class Job:
    """One fine-tuning job.

    Args:
        lob: The line of business.
        base_model: Path or hub id of the base.
        base_hash: The base's hash, kept in the adapter so that no other base serves it.
        dataset_id: The dataset's id.
        train_file: Its training examples, JSONL.
        out: Folder for the adapter and the checkpoints; a checkpoint found in it is resumed from.
        recipe: The recipe, as JSON.
    """

    lob: str
    base_model: str
    base_hash: str
    dataset_id: str
    train_file: str
    out: str
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a job made.

    Args:
        adapter: The PEFT folder.
        examples: Examples learned from.
        too_long: Examples left out because they exceed `max_length`.
        tokens: Tokens of the examples, each counted once.
        steps: Optimizer steps.
        seconds: Wall time, without the imports.
        device: cpu or cuda.
        parameters: Trainable parameters.
        peak_memory_bytes: The GPU's, or the process's resident memory on a CPU.
        losses: (step, loss) pairs.
    """

    adapter: str
    examples: int
    too_long: int
    tokens: int
    steps: int
    seconds: float
    device: str
    parameters: int
    peak_memory_bytes: int
    losses: list[tuple[int, float]] = field(default_factory=list)


def train(job: Job) -> Result:
    """Fine-tune a LoRA.

    Raises:
        FineTuneFailed: No example fits, the chat template never ends an answer, or the loss is
            not finite.
    """
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from transformers.utils import logging as transformers_logging
    from trl import SFTTrainer
    from trl.trainer.sft_config import SFTConfig

    begin = time.monotonic()
    recipe = Recipe.model_validate(job.recipe)
    rules, out = recipe.sft, Path(job.out)
    if rules.threads is not None:
        torch.set_num_threads(rules.threads)
    cuda = torch.cuda.is_available() if rules.device == "auto" else rules.device == "cuda"
    half = cuda if rules.dtype == "auto" else rules.dtype == "bfloat16"
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
    set_seed(rules.seed)

    tokenizer = AutoTokenizer.from_pretrained(job.base_model)
    rows, too_long, tokens = _fitting(Path(job.train_file), tokenizer, rules.max_length)
    model = AutoModelForCausalLM.from_pretrained(
        job.base_model, dtype=torch.bfloat16 if half else torch.float32
    )
    targets = recipe.lora.target_modules
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=recipe.lora.rank,
            lora_alpha=recipe.lora.alpha,
            lora_dropout=recipe.lora.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
        ),
        args=SFTConfig(
            output_dir=str(out / "checkpoints"),
            num_train_epochs=rules.epochs,
            max_steps=rules.max_steps or -1,
            per_device_train_batch_size=rules.batch_size,
            gradient_accumulation_steps=rules.gradient_accumulation,
            learning_rate=rules.learning_rate,
            lr_scheduler_type=rules.scheduler,
            warmup_steps=rules.warmup_share,
            weight_decay=rules.weight_decay,
            max_length=None,
            completion_only_loss=True,
            train_sampling_strategy="random",
            data_seed=rules.seed,
            gradient_checkpointing=rules.gradient_checkpointing,
            bf16=half,
            use_cpu=not cuda,
            seed=rules.seed,
            save_strategy="steps" if rules.checkpoint_steps else "no",
            save_steps=rules.checkpoint_steps or 0,
            save_total_limit=2,
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
        ),
    )
    _show_progress(trainer, job.lob)
    trainer.train(resume_from_checkpoint=_last_checkpoint(out / "checkpoints"))

    losses = [(e["step"], float(e["loss"])) for e in trainer.state.log_history if "loss" in e]
    if not losses or not all(math.isfinite(loss) for _, loss in losses):
        raise FineTuneFailed(
            f"{job.lob}: the loss became infinite or not a number; lower sft.learning_rate"
        )
    folder = _save(trainer.model, job, out / ADAPTER)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return Result(
        adapter=str(folder),
        examples=len(rows),
        too_long=too_long,
        tokens=tokens,
        steps=trainer.state.global_step,
        seconds=time.monotonic() - begin,
        device="cuda" if cuda else "cpu",
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        peak_memory_bytes=_peak_memory_bytes(cuda),
        losses=losses,
    )


def _fitting(file: Path, tokenizer: Any, max_length: int) -> tuple[list[dict[str, Any]], int, int]:
    """Return the rows that fit, how many do not, and the tokens of those that do.

    A row that is cut teaches to stop in mid-sentence or loses what the answer rests on, so a long
    one is left out whole.
    """
    rows, too_long, tokens, ends = [], 0, 0, False
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            content = json.loads(line)
            row = {"prompt": content["prompt"], "completion": content["completion"]}
            ids = tokenizer.apply_chat_template(
                row["prompt"] + row["completion"], return_dict=True
            )["input_ids"]
            if len(ids) > max_length:
                too_long += 1
                continue
            prompt = tokenizer.apply_chat_template(
                row["prompt"], add_generation_prompt=True, return_dict=True
            )["input_ids"]
            ends = ends or tokenizer.eos_token_id in ids[len(prompt) :]
            tokens += len(ids)
            rows.append(row)
    if not rows:
        raise FineTuneFailed(
            f"none of {too_long} examples fits into {max_length} tokens; raise sft.max_length"
        )
    if not ends:
        raise FineTuneFailed(
            f"the base's chat template does not close an answer with {tokenizer.eos_token!r}, so "
            "a fine-tuned model would never stop; give the base a template that does"
        )
    return rows, too_long, tokens


def _show_progress(trainer: Any, lob: str) -> None:
    """Put one bar with the loss in place of the trainer's lines of figures."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from transformers import PrinterCallback, TrainerCallback

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = progress.add_task(f"{lob}: fine-tuning", total=None, loss="")

    class Bar(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            progress.start()
            progress.update(task, total=state.max_steps, completed=state.global_step)

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                loss = f"loss {float(logs['loss']):.3f}"
                progress.update(task, completed=state.global_step, loss=loss)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            progress.stop()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Bar())


def _last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint; the trainer writes trainer_state.json last."""
    found = [(int(path.name.rpartition("-")[2]), path) for path in folder.glob("checkpoint-*")]
    for _, path in sorted(found, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def _save(model: Any, job: Job, folder: Path) -> Path:
    """Write a plain PEFT folder: weights, configuration and lineage, the same bytes every time."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner only; a server may be another user
    config_file = folder / "adapter_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    if isinstance(config["target_modules"], list):  # PEFT writes a set, in an order of its own
        config["target_modules"].sort()
    config["base_model_name_or_path"] = job.base_model
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    lineage = {
        "base_model": job.base_model,
        "base_hash": job.base_hash,
        "dataset_id": job.dataset_id,
        "lob": job.lob,
        "recipe": job.recipe,
    }
    (folder / LINEAGE).write_text(
        json.dumps(lineage, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
    return folder


def _peak_memory_bytes(cuda: bool) -> int:
    if cuda:
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
