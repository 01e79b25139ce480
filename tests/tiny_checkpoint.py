"""Random Llama checkpoints and LoRA adapters, so that tests and benchmarks need no download.

The weights mean nothing; their scale is chosen so that greedy outputs differ between prompts and
between adapters, which is what a test of mixed batches needs. Needs ``transformers``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

ALL_PROJECTIONS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
_END_OF_TEXT = "<|end|>"


def make_checkpoint(
    folder: Path,
    *,
    hidden: int = 128,
    intermediate: int = 256,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    vocabulary: int = 512,
    positions: int = 2048,
    dtype: str = "float32",
    seed: int = 0,
) -> Path:
    """Write a random Llama with a byte-level tokenizer.

    Args:
        folder: Where to write; made if missing.
        hidden: Hidden size.
        intermediate: Width of the MLP.
        layers: Decoder layers.
        heads: Attention heads; vLLM on CPU wants heads of 32 or more columns.
        kv_heads: Key and value heads.
        vocabulary: Tokens, at least 257.
        positions: Longest sequence, tokens.
        dtype: Type of the weights, a torch name.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: number for number, symbol in enumerate([_END_OF_TEXT, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END_OF_TEXT, pad_token=_END_OF_TEXT
    )

    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
        # Wide enough that greedy decoding does not fall into ties between near-equal logits.
        initializer_range=0.15,
    )
    folder.mkdir(parents=True, exist_ok=True)
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_adapter(
    folder: Path,
    checkpoint: Path,
    *,
    rank: int = 8,
    targets: Sequence[str] = ALL_PROJECTIONS,
    strength: float = 1.0,
    seed: int = 1,
) -> Path:
    """Write a random LoRA adapter in PEFT's format for a checkpoint of ``make_checkpoint``.

    Args:
        folder: Where to write; made if missing.
        checkpoint: The base model's folder.
        rank: Rank of every module.
        targets: Names of the projections that get an adapter.
        strength: Standard deviation of the adapter's product relative to the base weight's.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    from safetensors.torch import save_file

    config = json.loads((checkpoint / "config.json").read_text())
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    kv_width = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {
        "q_proj": ("self_attn", hidden, hidden),
        "k_proj": ("self_attn", hidden, kv_width),
        "v_proj": ("self_attn", hidden, kv_width),
        "o_proj": ("self_attn", hidden, hidden),
        "gate_proj": ("mlp", hidden, intermediate),
        "up_proj": ("mlp", hidden, intermediate),
        "down_proj": ("mlp", intermediate, hidden),
    }
    generator = torch.Generator().manual_seed(seed)
    deviation = (strength * config["initializer_range"]) ** 0.5 / rank**0.25
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for target in targets:
            block, inputs, outputs = shapes[target]
            prefix = f"base_model.model.model.layers.{layer}.{block}.{target}"
            a = torch.randn(rank, inputs, generator=generator) * deviation
            b = torch.randn(outputs, rank, generator=generator) * deviation
            weights[f"{prefix}.lora_A.weight"] = a
            weights[f"{prefix}.lora_B.weight"] = b
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": checkpoint.name,
                "r": rank,
                "lora_alpha": rank,
                "lora_dropout": 0.0,
                "bias": "none",
                "target_modules": list(targets),
                "inference_mode": True,
            },
            indent=1,
        )
    )
    return folder
