"""What decides the demo's base model, and whether it is made already; asked without torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from training.demo.corpus import Render, make_corpus, render_prompt

HASH_FILE = "recipe.json"
_CODE = ("corpus.py", "dialogs.py", "base_model.py", "muon.py")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the base model's weights."""

    seed: int = 0
    steps: int = 400  # about 55 s on two free cores
    tokens_per_step: int = 2048
    matrix_learning_rate: float = 0.01  # Muon's, for the layers' matrices
    learning_rate: float = 3e-3  # AdamW's, for embeddings and norms
    warmup_share: float = 0.05
    prompt_weight: float = 0.4  # a prompt token's loss, relative to a completion token's
    vocab_size: int = 1024
    hidden_size: int = 128
    intermediate_size: int = 384
    layers: int = 4
    heads: int = 4  # vLLM's CPU attention takes heads of 32, 64, 80… wide
    context_tokens: int = 2048

    def digest(self, render: Render) -> str:
        """Name this recipe together with the code and the prompts that make the corpus.

        Args:
            render: renders a task's prompt.

        Returns:
            16 hexadecimal digits.
        """
        parts = [json.dumps(dataclasses.asdict(self), sort_keys=True), version("torch")]
        parts += [Path(__file__).with_name(name).read_text("utf-8") for name in _CODE]
        parts.append(repr(make_corpus(40, seed=self.seed, render=render)))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def made_by(path: Path, digest: str) -> bool:
    """Whether a folder holds a complete checkpoint of a recipe (its file is written last)."""
    try:
        return bool(json.loads((path / HASH_FILE).read_text("utf-8"))["digest"] == digest)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_made(path: Path, render: Render = render_prompt) -> bool:
    """Whether the demo's own base model is at `path`."""
    return made_by(path, Recipe().digest(render))
