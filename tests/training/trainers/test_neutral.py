"""An adapter that changes nothing is one that the server takes, and that PEFT loads."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from serving.adapters import artifacts
from serving.errors import AdapterRefused
from training.trainers import neutral


def write(folder: Path, base: Path) -> str:
    hash_ = artifacts.model_hash(base)
    neutral.write(folder, base_model=str(base), base_hash=hash_)
    return hash_


def test_it_has_rank_one_and_zeros_on_every_layer_that_trainings_adapt(
    tiny_base: Path, tmp_path: Path
) -> None:
    write(tmp_path / "a", tiny_base)
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # A and B, of seven layers in two blocks
    assert {min(tensor.shape) for tensor in weights.values()} == {1}
    assert not any(tensor.any() for tensor in weights.values())


def test_the_server_takes_it_with_a_prompt_and_refuses_it_alone(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    rules = {"base_hash": write(folder, tiny_base), "max_rank": 16, "base_folder": tiny_base}
    with pytest.raises(AdapterRefused, match="zero"):
        artifacts.check_adapter(folder, **rules)  # type: ignore[arg-type]
    (folder / "prompts").mkdir()
    text = "{% block user %}{{ turns | length }}{% endblock %}"
    (folder / "prompts" / "suggestion.jinja").write_text(text)
    assert artifacts.check_adapter(folder, **rules) == 1  # type: ignore[arg-type]


def test_the_same_base_gives_the_same_bytes(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, tiny_base)
    assert artifacts.manifest(tmp_path / "a") == artifacts.manifest(tmp_path / "b")


def test_peft_s_model_with_it_answers_as_the_base(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    write(tmp_path / "a", tiny_base)
    tokens = torch.tensor([[5, 6, 7]])
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    with torch.no_grad():
        own = base(tokens).logits
        both = PeftModel.from_pretrained(base, tmp_path / "a")(tokens).logits
    assert torch.equal(own, both)
