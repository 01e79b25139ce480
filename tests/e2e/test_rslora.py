"""The engine scales an rsLoRA adapter as it was trained: by alpha / sqrt(rank)."""

import json
from pathlib import Path

import pytest

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.adapters.validation import stamp
from tests.e2e.server import Server, with_registry
from tests.tiny_checkpoint import make_adapter

pytestmark = pytest.mark.e2e


def test_rslora_answers_as_lora_of_the_same_scale(
    server: Server, base_model: Path, tmp_path: Path
) -> None:
    base_hash = artifacts.model_hash(base_model)

    def register(name: str, **config: object) -> str:
        """Register the same weights of rank 4 under another configuration."""
        folder = make_adapter(tmp_path / name, base_model, rank=4, seed=3)
        stamp(folder, base_model="base", base_hash=base_hash)
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))

        async def run(registry: Registry) -> str:
            number = await registry.reserve("care")
            version = await registry.register(
                "care",
                number,
                folder,
                parent=None,
                base_model="base",
                base_hash=base_hash,
                dataset_id=None,
                recipe={},
                metrics={},
                rank=4,
            )
            return version.name

        return with_registry(server, run)

    def answer(model: str) -> list[float]:
        """Return the log probabilities of a greedy answer's tokens."""
        done = server.client("trainer").chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Where is my order?"}],
            temperature=0,
            max_tokens=12,
            logprobs=True,
        )
        assert done.choices[0].logprobs is not None
        return [token.logprob for token in done.choices[0].logprobs.content or []]

    root = answer(register("root", use_rslora=True, lora_alpha=2))  # 2 / sqrt(4)
    assert root == pytest.approx(answer(register("same", lora_alpha=4)), abs=1e-3)  # 4 / 4
    assert root != pytest.approx(answer(register("half", lora_alpha=2)), abs=1e-3)  # 2 / 4
