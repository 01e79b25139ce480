"""What training will take: exact where it can be, and near what a real pass keeps."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.errors import RecipeError
from training.execution import footprint
from training.recipe.methods import Lora, Sft

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1024,
    "tie_word_embeddings": True,
}
PUBLISHED = [  # config.json of each, and the parameters that its weights hold
    (
        "meta-llama/Meta-Llama-3-8B",
        {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}
        | {"model_type": "llama", "tie_word_embeddings": False},
        8_030_261_248,
    ),
    (
        "Qwen/Qwen2.5-0.5B",
        {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
        | {"num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936}
        | {"model_type": "qwen2", "tie_word_embeddings": True},
        494_032_768,
    ),
    (
        "Qwen/Qwen3-0.6B",
        {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28}
        | {"num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151936}
        | {"model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 128},
        596_049_920,
    ),
    (
        "HuggingFaceTB/SmolLM2-135M",
        {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
        | {"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152}
        | {"model_type": "llama", "tie_word_embeddings": True},
        134_515_008,
    ),
]


@pytest.mark.parametrize(("name", "config", "parameters"), PUBLISHED)
def test_parameters_are_those_of_published_models(
    name: str, config: dict[str, Any], parameters: int
) -> None:
    assert footprint.shape(config).parameters == parameters, name


def test_an_eight_billion_model_takes_what_is_known_of_it() -> None:
    shape = footprint.shape(PUBLISHED[0][1])
    assert footprint.adapter_parameters(shape, Lora(rank=16)) == 41_943_040  # PEFT prints it
    taken = footprint.footprint(shape, Lora(rank=16), Sft(), "bfloat16")
    assert taken.weights == 2 * shape.parameters
    assert taken.adapter == 16 * 41_943_040
    held = footprint.footprint(shape, Lora(rank=16, quantization="nf4"), Sft(), "bfloat16")
    assert 0.3 < held.weights / taken.weights < 0.4  # embeddings and head stay as they are
    assert shape.kv_numbers == 65_536


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_near_what_a_real_pass_keeps(checkpointing: bool) -> None:
    """Counted by PyTorch itself: every tensor that autograd saves, once, the weights aside."""
    torch = pytest.importorskip("torch")
    from peft import get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.trainers.lora import lora_config

    config = LlamaConfig(**{k: v for k, v in LLAMA.items() if k != "model_type"})
    config._attn_implementation = "sdpa"
    model = get_peft_model(LlamaForCausalLM(config), lora_config(Lora(rank=4)))
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def save(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch, length = 4, 256
    tokens = torch.randint(0, 1024, (batch, length))
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        logits = model(input_ids=tokens, use_cache=False).logits
    numbers = sum(kept.values()) / 4 / (batch * length)
    assert logits.shape == (batch, length, 1024)
    shape = footprint.shape(LLAMA)
    told = footprint.activation_numbers(shape, checkpointing=checkpointing)
    if checkpointing:  # the layer that is computed again is not kept until the way back
        told = shape.layers * shape.hidden
    assert 0.6 < told / numbers < 1.6, (told, numbers)


def test_checkpointing_and_a_smaller_batch_take_less_and_checkpointing_longer() -> None:
    shape = footprint.shape(LLAMA)
    whole = footprint.footprint(shape, Lora(), Sft(), "float32")
    half = footprint.footprint(shape, Lora(), Sft(batch_size=4), "float32")
    twice = footprint.footprint(shape, Lora(), Sft(gradient_checkpointing=True), "float32")
    assert whole.activations == 2 * half.activations
    assert twice.activations < whole.activations
    once_s = footprint.least_seconds(shape, 1000, 1e9)
    assert footprint.least_seconds(shape, 1000, 1e9, checkpointing=True) == 1.5 * once_s
    assert footprint.least_seconds(shape, 2000, 1e9) == 2 * once_s


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"hidden_size": None}, "config.json"),
    ],
)
def test_a_model_that_is_not_known_is_said_to_be(change: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        footprint.shape(LLAMA | change)


def test_a_target_that_no_such_model_has_is_refused() -> None:
    lora = Lora(target_modules=("q_proj", "c_attn"))
    with pytest.raises(RecipeError, match="c_attn"):
        footprint.adapter_parameters(footprint.shape(LLAMA), lora)


def test_the_demos_base_has_what_its_file_says(tmp_path: Path) -> None:
    from safetensors import safe_open

    from training.demo.base_model import make_base_model

    folder = Path(__file__).parents[3] / ".cache" / "switchboard" / "demo-base"
    make_base_model(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        held = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    config = json.loads((folder / "config.json").read_text())
    assert footprint.shape(config).parameters == held
