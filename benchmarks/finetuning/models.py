"""The models that are fine-tuned: the demo's base, or Llamas of a real size with random weights.

A step's time and memory do not depend on what the weights are, so nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    # Llama 3.2 1B and Llama 3.1 8B, with their vocabulary
    "1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
               num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=True),
    "8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
               num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=False),
}  # fmt: skip
VOCABULARY = 128_256


def make(name: str, folder: Path) -> Path:
    """Return a checkpoint's folder, made if it is not there.

    Args:
        name: `demo`, or a key of SHAPES.
        folder: Where checkpoints are kept.
    """
    from training.demo.base_model import make_base_model

    demo = make_base_model(folder / "demo-base")
    if name == "demo":
        return demo
    path = folder / f"random-{name}"
    if (path / "tokenizer.json").is_file():
        return path
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(demo)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=8192,
        rope_theta=500_000.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPES[name],
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)  # last: it marks the folder as whole
    return path
