"""One fine-tuning of one trainer in a process of its own: reads a task, writes what it measured.

    python benchmarks/finetuning/target.py TASK.json ANSWER.json

Everything that a comparison must hold equal comes from the task: model, data, LoRA, batch, learning
rate, seed. All else is the trainer's own default. The clock runs in `Trainer.train` alone: loading
and tokenizing are left out on every side.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20


def main(task_file: Path, answer_file: Path) -> None:
    """Run the task's trainer."""
    import torch
    import transformers

    task = json.loads(task_file.read_text())
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    measured: dict[str, Any] = {}
    train = transformers.Trainer.train

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        cuda = self.args.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        measured["memory_before_mib"] = _memory_mib(cuda)
        wall, cpu = time.perf_counter(), time.process_time()
        out = train(self, *args, **kwargs)
        if cuda:
            torch.cuda.synchronize()
        measured["seconds"] = time.perf_counter() - wall
        measured["cpu_seconds"] = time.process_time() - cpu
        measured["peak_memory_mib"] = _peak_mib(cuda)
        measured["steps"] = self.state.global_step
        measured["losses"] = [e["loss"] for e in self.state.log_history if "loss" in e]
        return out

    transformers.Trainer.train = timed
    RUNNERS[task["target"]](task)
    answer_file.write_text(json.dumps(measured))


def trl(task: dict[str, Any], **own: Any) -> None:
    """Plain TRL, as its quick start says."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import set_seed
    from trl import SFTTrainer
    from trl.trainer.sft_config import SFTConfig

    set_seed(task["seed"])
    more = {}
    if task["method"] == "qlora":
        import torch
        from transformers import BitsAndBytesConfig

        more["model_init_kwargs"] = {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            )
        }
    SFTTrainer(
        model=task["model"],
        train_dataset=Dataset.from_list(_rows(task)),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=task["rank"],
            lora_alpha=task["alpha"],
            lora_dropout=0.0,
            target_modules="all-linear",
        ),
        args=SFTConfig(**_same(task), **more, **own),
    ).train()


def trl_lean(task: dict[str, Any]) -> None:
    """TRL with what a careful user changes: no checkpointing, and float32 on a CPU."""
    import torch

    trl(task, gradient_checkpointing=False, bf16=torch.cuda.is_available())


def switchboard(task: dict[str, Any]) -> None:
    """The trainer of `switchboard train`, with the recipe's defaults."""
    from training.recipe.recipe import Recipe
    from training.trainers import stages
    from training.trainers.job import Job

    lora: dict[str, Any] = {"rank": task["rank"], "alpha": task["alpha"]}
    if task["method"] == "qlora":
        lora["quantization"] = "nf4"
    recipe = Recipe.model_validate(
        {
            "lora": lora,
            "sft": {
                "epochs": task["epochs"],
                "batch_size": task["batch_size"],
                "learning_rate": task["learning_rate"],
                "scheduler": "cosine",
                "warmup_share": 0.05,
                "max_length": task["max_length"],
                "seed": task["seed"],
                "threads": task["threads"],
            },
            "speed": task["speed"],
        }
    )
    stages.train(
        Job(
            "bench",
            task["model"],
            "none",
            "none",
            task["train_file"],
            task["out"],
            recipe.model_dump(mode="json"),
        )
    )


def unsloth(task: dict[str, Any]) -> None:
    """Unsloth's own quick start, on a GPU."""
    from unsloth import FastLanguageModel  # isort: skip  (it patches what comes after)
    from datasets import Dataset
    from trl import SFTTrainer
    from trl.trainer.sft_config import SFTConfig

    model, tokenizer = FastLanguageModel.from_pretrained(
        task["model"], max_seq_length=task["max_length"], load_in_4bit=task["method"] == "qlora"
    )
    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = FastLanguageModel.get_peft_model(
        model, r=task["rank"], lora_alpha=task["alpha"], lora_dropout=0, target_modules=linears,
        use_gradient_checkpointing="unsloth", random_state=task["seed"],
    )  # fmt: skip
    SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(_rows(task)),
        args=SFTConfig(**_same(task)),
    ).train()


def _same(task: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {
        "use_cpu": not torch.cuda.is_available(),  # TRL's own default does not start without a GPU
        "output_dir": task["out"],
        "num_train_epochs": task["epochs"],
        "per_device_train_batch_size": task["batch_size"],
        "learning_rate": task["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "max_length": task["max_length"],
        "seed": task["seed"],
        "data_seed": task["seed"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _rows(task: dict[str, Any]) -> list[dict[str, Any]]:
    with Path(task["train_file"]).open() as lines:
        return [json.loads(line) for line in lines]


def _memory_mib(cuda: bool) -> float:
    if cuda:
        import torch

        return torch.cuda.memory_allocated() / MIB
    return _status("VmRSS")


def _peak_mib(cuda: bool) -> float:
    if cuda:
        import torch

        return torch.cuda.max_memory_allocated() / MIB
    return _status("VmHWM")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


RUNNERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "trl": trl,
    "trl_lean": trl_lean,
    "switchboard": switchboard,
    "unsloth": unsloth,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
