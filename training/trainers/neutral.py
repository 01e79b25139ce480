"""An adapter that changes nothing: what a version is that is a prompt alone.

A version of the base with a prompt of its own needs an adapter all the same. Routes, canaries,
shadows, caches and the engine's slots all go by an adapter's id, and one that adds zero takes that
whole way as it is, instead of being a second kind of version in each of these places. Its rank is
1, on the layers that trainings adapt, so that it costs the engine what any adapter costs, and the
answers are the base's own.
"""

import json
from pathlib import Path

from serving.adapters.artifacts import model_folder
from serving.adapters.validation import CONFIG, WEIGHTS, stamp
from training.recipe.methods import Lora
from training.trainers.lora import lora_config

RANK = 1


def write(folder: Path, *, base_model: str, base_hash: str) -> None:
    """Write a PEFT folder of rank 1 whose matrices are zero: the same bytes every time.

    The layers are found in the base's architecture, without its weights.

    Args:
        folder: A new folder.
        base_model: The base, as the server is configured.
        base_hash: Its `artifacts.model_hash`.

    Raises:
        ConfigError: There is no such base here.
    """
    import torch
    from peft import get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(model_folder(base_model))
        model = AutoModelForCausalLM.from_config(config)
        adapted = get_peft_model(model, lora_config(Lora(rank=RANK, alpha=RANK)))
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    folder.mkdir(parents=True)
    zeros = {name: torch.zeros(tensor.shape, dtype=torch.float32) for name, tensor in state.items()}
    save_file(zeros, folder / WEIGHTS, {"format": "pt"})
    adapted.peft_config["default"].save_pretrained(folder)
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base_model
    content["target_modules"].sort()  # PEFT writes a set, in an order of its own
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    stamp(folder, base_model=base_model, base_hash=base_hash)
