import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from serving.adapters.base_layers import BaseLayers
from serving.errors import AdapterRefused

PREFIX = "base_model.model."


def layers(*names: str, depth: int | None = None) -> BaseLayers:
    return BaseLayers(dict.fromkeys(names, (8, 4)), depth)


@pytest.mark.parametrize(
    "stored", ["model.layers.0.q", "layers.0.q", "language_model.model.layers.0.q"]
)
@pytest.mark.parametrize("named", ["model.layers.0.q", "model.language_model.layers.0.q"])
def test_a_layer_is_found_whatever_libraries_put_before_it(stored: str, named: str) -> None:
    assert layers(stored).find(PREFIX + named) == stored
    assert layers(stored).find(PREFIX + named + "x") is None


def test_a_name_without_its_beginning_has_no_effect_and_is_refused() -> None:
    """The engine looks for the whole name; the model's code may add to what is stored."""
    layers("layers.0.q").check_name(f"{PREFIX}model.layers.0.q")
    with pytest.raises(AdapterRefused, match=r"the base's layer is model\.layers\.0\.q"):
        layers("model.layers.0.q").check_name(f"{PREFIX}layers.0.q")


def test_a_quantized_layer_is_known_without_its_shape(tmp_path: Path) -> None:
    tensors = {
        "model.layers.0.q.qweight": np.zeros((2, 4), np.int32),
        "model.layers.0.q.scales": np.zeros((2, 4), np.float16),
        "model.layers.0.v.weight": np.zeros((16, 1), np.uint8),
        "model.layers.0.norm.weight": np.zeros(16, np.float16),
        "model.layers.0.o.weight": np.zeros((8, 4), np.float16),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"num_hidden_layers": 1}}))
    base = BaseLayers.read(tmp_path)
    names = {name.removeprefix("model.layers.0."): shape for name, shape in base.shapes.items()}
    assert names == {"q": None, "v": None, "o": (8, 4)}
    assert base.depth == 1
    base.check_shape(f"{PREFIX}model.layers.0.q", (1, 1))
    with pytest.raises(AdapterRefused, match="is no layer"):
        base.check_name(f"{PREFIX}model.layers.0.norm")


def test_what_is_not_known_refuses_nothing(tmp_path: Path) -> None:
    base = BaseLayers.read(tmp_path)
    base.check_name("anything")
    base.check_all_there({"target_modules": ["q"]}, [])


def test_parts_that_an_adapter_leaves_alone_may_be_missing() -> None:
    """Images, drafts and experts: PEFT gave them none when the text model alone was trained."""
    base = layers(
        "model.layers.0.q",
        "model.layers.1.q",  # beyond the depth: it drafts tokens
        "visual.blocks.0.q",
        "visual.blocks.1.q",
        "mtp.layers.0.q",
        "model.layers.0.mlp.experts.3.q",
        depth=1,
    )
    base.check_all_there({"target_modules": ["q"]}, [f"{PREFIX}model.layers.0.q"])
    with pytest.raises(AdapterRefused, match=r"visual\.blocks\.0\.q"):
        base.check_all_there({"target_modules": ["q"]}, [f"{PREFIX}visual.blocks.1.q"])


def test_what_is_excluded_or_in_another_block_is_not_missed() -> None:
    base = layers("model.layers.0.q", "model.layers.1.q")
    only_first = [f"{PREFIX}model.layers.0.q"]
    for extra in (
        {"exclude_modules": ["model.layers.1.q"]},
        {"exclude_modules": r".*\.1\..*"},
        {"layers_to_transform": 0},
        {"layers_to_transform": [0], "layers_pattern": "layers"},
    ):
        base.check_all_there({"target_modules": ["q"]} | extra, only_first)
    with pytest.raises(AdapterRefused, match="covers 1 layers"):
        base.check_all_there({"target_modules": ["q"], "layers_to_transform": [0, 1]}, only_first)
