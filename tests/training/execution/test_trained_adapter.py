import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from serving.adapters import artifacts
from serving.config.settings import Settings
from training.errors import FineTuneFailed
from training.execution import trained_adapter
from training.trainers.job import Result

LAYER = "model.layers.0.self_attn.q_proj"


def trained(folder: Path, base_hash: str, layer: str = LAYER) -> Result:
    folder.mkdir()
    tensors = {
        f"base_model.model.{layer}.lora_A.weight": np.ones((4, 32), np.float32),
        f"base_model.model.{layer}.lora_B.weight": np.ones((32, 4), np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "layers_to_transform": [0]}))
    (folder / "switchboard.json").write_text(json.dumps({"base_hash": base_hash}))
    return Result(str(folder), 16, 0, 500, 8, 1.0, "cpu", 256, 1 << 20, [(1, 2.0)])


async def test_a_trained_adapter_of_the_base_s_own_layers_passes(
    settings: Settings, tmp_path: Path
) -> None:
    base = artifacts.model_hash(settings.model)
    await trained_adapter.check(trained(tmp_path / "a", base), settings, base)


async def test_an_adapter_without_effect_fails_the_fine_tuning_by_name(
    settings: Settings, tmp_path: Path
) -> None:
    base = artifacts.model_hash(settings.model)
    other = trained(tmp_path / "a", base, layer="model.layers.0.self_attn.other_proj")
    with pytest.raises(FineTuneFailed, match=r"cannot be served: .*other_proj"):
        await trained_adapter.check(other, settings, base)
