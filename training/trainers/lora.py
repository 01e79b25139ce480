"""The model that is trained: a frozen base with one LoRA on it; and the folder that it becomes.

Whatever the method, what serves is one plain PEFT adapter on the base, the same bytes each time.
"""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training.errors import FineTuneFailed
from training.recipe.methods import Lora
from training.trainers import cpu
from training.trainers.job import Job

LINEAGE = "switchboard.json"
WEIGHTS = "adapter_model.safetensors"


def policy(
    base_model: str,
    lora: Lora,
    *,
    start: Path | None,
    half: bool,
    device: str,
    gradient_checkpointing: bool,
) -> dict[str, Any]:
    """Return what a TRL trainer takes as the model.

    A fresh adapter is left to the trainer to make, from `peft_config`: it changes nothing before
    the first step, so DPO and KTO take the base, the adapter switched off, as their reference. An
    adapter to go on from is loaded here; of such a model the trainers freeze a copy and take it
    as the reference, which is what the policy is when their stage begins.

    Args:
        base_model: Path or hub id of the base.
        lora: The adapter's shape.
        start: The PEFT folder to go on from, None for a fresh adapter.
        half: Whether the base is held in bfloat16.
        device: The recipe's: auto, cpu or cuda.
        gradient_checkpointing: Whether activations are computed twice.

    Raises:
        FineTuneFailed: The base cannot be quantized here, or `start` is of another shape.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if half else torch.float32
    if lora.quantization == "none":
        model = AutoModelForCausalLM.from_pretrained(base_model, dtype=dtype)
    else:
        model = _quantized(base_model, device, gradient_checkpointing)
    if start is None:
        return {"model": model, "peft_config": lora_config(lora)}
    model = get_peft_model(model, lora_config(lora))
    load(model, start)
    return {"model": model}


def lora_config(lora: Lora) -> Any:
    """Return PEFT's configuration of an adapter's shape."""
    from peft import LoraConfig

    targets = lora.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.variant == "rslora",
        target_modules=targets if isinstance(targets, str) else list(targets),
    )


def save(trainer: Any, job: Job, folder: Path) -> Path:
    """Write a plain PEFT folder: weights, configuration and lineage, the same bytes every time.

    Args:
        trainer: The trainer, done. DPO's and KTO's frozen reference adapter is left out.
        job: What it did.
        folder: Where to; replaced if it exists.
    """
    main, state = trainer.args.should_save, None
    if trainer.is_fsdp_enabled:  # each process holds a part: all take part in collecting them
        state = trainer.accelerator.get_state_dict(trainer.model)
    if main:
        shutil.rmtree(folder, ignore_errors=True)
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(
        str(folder),
        state_dict=state,
        is_main_process=main,
        selected_adapters=["default"],
        save_embedding_layers=False,
    )
    if main:
        _finish(job, folder)
    return folder


def _finish(job: Job, folder: Path) -> None:
    (folder / "README.md").unlink(missing_ok=True)
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
        "start": job.start_version,
    }
    (folder / LINEAGE).write_text(
        json.dumps(lineage, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _quantized(base_model: str, device: str, gradient_checkpointing: bool) -> Any:
    """Load a base in 4 bits as QLoRA does: NormalFloat, its scales quantized again."""
    if find_spec("bitsandbytes") is None:
        raise FineTuneFailed(
            "lora.quantization nf4 needs bitsandbytes, which is not installed. "
            "Fix: pip install 'switchboard[qlora]', or quantization: none"
        )
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if device != "cpu" and not torch.cuda.is_available():
        raise FineTuneFailed(
            "lora.quantization nf4 needs a CUDA GPU, and there is none here. "
            "Fix: quantization: none, or device: cpu to try it slowly"
        )
    half = cpu.computes_in_bfloat16(cuda=device != "cpu")
    dtype = torch.bfloat16 if half else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        base_model,
        dtype=dtype,
        device_map={"": "cpu" if device == "cpu" else int(os.environ.get("LOCAL_RANK", "0"))},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    )
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=gradient_checkpointing)


def load(model: Any, folder: Path) -> None:
    """Put an adapter's weights into a model's adapter, which must have the same layers.

    Raises:
        FineTuneFailed: It has other layers or sizes.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    here = {name: tuple(w.shape) for name, w in get_peft_model_state_dict(model).items()}
    weights = load_file(folder / WEIGHTS)
    there = {name: tuple(w.shape) for name, w in weights.items()}
    if here != there:
        names = sorted(name for name in here.keys() | there if here.get(name) != there.get(name))
        raise FineTuneFailed(
            f"the adapter to start from has other layers or sizes than the recipe's lora asks for: "
            f"{len(names)} differ, the first is {names[0]} ({there.get(names[0])}, wanted "
            f"{here.get(names[0])}). Fix: the same rank and target_modules, or start: fresh"
        )
    set_peft_model_state_dict(model, weights)
