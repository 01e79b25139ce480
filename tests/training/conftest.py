"""A base model small enough to fine-tune in seconds, with random weights, and a dataset for it."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from serving.config.settings import Settings
from tests.training.stand_in import wanted
from tests.training.stub_server import Stub, serving
from training.execution.local import Worker
from training.recipe.recipe import Lora, Recipe, Sft

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_base(folder: Path, template: str = TEMPLATE) -> Path:
    """Write a Llama of 60,000 random weights with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[1], pad_token=special[0]
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worker() -> AsyncIterator[Worker]:
    """Return the real training process; its imports take longer than any of its jobs."""
    async with Worker() as process:
        yield process


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def train_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 16 examples, and one of 300 tokens."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    rows = [("x" * (10 + n), f"answer {n}") for n in range(16)] + [("y" * 300, "too long")]
    lines = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": completion}],
            "interaction_id": f"i{n}",
        }
        for n, (prompt, completion) in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def settings(tiny_base: Path, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "model": str(tiny_base),
            "lobs": {"care": {}, "sales": {}},
            "store": {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"},
            "adapters": {"uri": str(tmp_path / "adapters")},
        }
    )


@pytest.fixture
def good() -> Iterator[Stub]:
    """A server whose adapters write what agents want; the base does not."""

    def answer(model: str, prompt: str) -> str:
        return "something else entirely" if model == "base" else wanted(prompt)

    with serving(Stub(answer)) as stub:
        yield stub


@pytest.fixture
def tiny_recipe() -> Recipe:
    """Return a recipe of eight steps on one thread."""
    return Recipe(
        lora=Lora(rank=4, alpha=8),
        sft=Sft(
            epochs=2, batch_size=4, learning_rate=1e-2, max_length=128, device="cpu", threads=1
        ),
    )


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def preference_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 16 pairs of as many conversations, and one of 300 tokens."""
    rows: list[dict[str, object]] = [
        {
            "prompt": message("user", prompt),
            "chosen": message("assistant", f"yes {n}"),
            "rejected": message("assistant", f"no way {n}"),
            "conversation_id": f"c{n}",
        }
        for n, prompt in enumerate(["x" * (10 + n) for n in range(16)] + ["y" * 300])
    ]
    return _write(tmp_path_factory.mktemp("data") / "preference.jsonl", rows)


@pytest.fixture(scope="session")
def kto_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 10 good and 6 bad answers of as many conversations."""
    rows: list[dict[str, object]] = [
        {
            "prompt": message("user", "x" * (10 + n)),
            "completion": message("assistant", f"yes {n}" if n < 10 else f"no way {n}"),
            "label": n < 10,
            "conversation_id": f"c{n}",
        }
        for n in range(16)
    ]
    return _write(tmp_path_factory.mktemp("data") / "kto.jsonl", rows)
