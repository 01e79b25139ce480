"""Checkpoints: sizes from their own files, and every fault of a folder by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from serving.engine import checkpoint
from serving.errors import ConfigError

CONFIG = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "max_position_embeddings": 512,
    "dtype": "bfloat16",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    tensors: dict[str, Any] = {"a": np.zeros((10, 20), np.float16), "b": np.zeros(7, np.int8)}
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def test_sizes_are_read_from_config_and_headers(folder: Path) -> None:
    found = checkpoint.read(folder)
    assert (found.context, found.dtype) == (512, "bfloat16")
    assert found.kv_values == 2 * 2 * 2 * 16
    assert found.weight_bytes("float32") == 10 * 20 * 4 + 7
    assert found.weight_bytes("bfloat16") == 10 * 20 * 2 + 7


def test_the_language_model_of_a_multimodal_one_counts() -> None:
    found = checkpoint.describe({"text_config": CONFIG, "vision_config": {}})
    assert (found.context, found.kv_values) == (512, 128)


def test_latent_attention_keeps_one_vector_a_token() -> None:
    found = checkpoint.describe(CONFIG | {"kv_lora_rank": 32, "qk_rope_head_dim": 8})
    assert found.kv_values == 2 * 40


def test_what_the_config_does_not_tell_is_unknown() -> None:
    assert checkpoint.describe({}).kv_bytes("float32") is None


def test_a_truncated_file_is_corrupt(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ConfigError, match=r"model\.safetensors is corrupt or cut short"):
        checkpoint.read(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "c": "second.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"lacks second\.safetensors"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("config.json", r"holds no config\.json"),
        ("model.safetensors", "holds no weights"),
        ("tokenizer.json", "holds no tokenizer"),
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str, fault: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=fault):
        checkpoint.read(folder)


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_faulty_config_is_explained(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        checkpoint.read(folder)


def test_a_chat_template_must_be_there_or_given(folder: Path, tmp_path: Path) -> None:
    checkpoint.check_template(folder, {})
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no chat template.*engine\.chat_template"):
        checkpoint.check_template(folder, {})
    with pytest.raises(ConfigError, match=r"no file 'nowhere\.jinja'"):
        checkpoint.check_template(folder, {"chat_template": "nowhere.jinja"})
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    checkpoint.check_template(folder, {})


def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no hub id"):
        checkpoint.locate("a b/c d e")
