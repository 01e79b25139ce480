"""Records and adapters with sensible content, of which a test names only what it is about."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from serving.adapters import artifacts
from serving.store.records import FeedbackRecord, InteractionRecord

Interactions = Callable[..., InteractionRecord]
Feedbacks = Callable[..., FeedbackRecord]


@pytest.fixture
def interaction() -> Interactions:
    """Return a function that makes interactions; its arguments replace fields."""
    numbers = itertools.count(1)

    def make(**fields: Any) -> InteractionRecord:
        number = next(numbers)
        return InteractionRecord.model_validate(
            {
                "id": f"chatcmpl-{number:04}",
                "created_at": 1_700_000_000.0 + number,
                "lob": "care",
                "task": "suggestion",
                "endpoint": "/v1/suggestions",
                "model_requested": "care",
                "version": "care@7",
                "base_model": "base",
                "prompt_name": "care/suggestion",
                "prompt_hash": "0f" * 32,
                "request": {"lob": "care", "temperature": 0.5},
                "messages": [{"role": "user", "content": "My router is on fire."}],
                "response": {"id": f"chatcmpl-{number:04}", "choices": []},
                "output": "Please leave the building.",
                "finish_reason": "stop",
                "prompt_tokens": 12,
                "completion_tokens": 5,
                "ttft_ms": 18.5,
                "latency_ms": 120.25,
                "conversation_id": "conversation-1",
                "turn_position": 3,
                "key_id": "key_1",
                "replica": "replica-a",
                "stream": True,
                "status": "completed",
            }
            | fields
        )

    return make


@pytest.fixture
def feedback() -> Feedbacks:
    """Return a function that makes feedback; its arguments replace fields."""
    numbers = itertools.count(1)

    def make(interaction_id: str, **fields: Any) -> FeedbackRecord:
        fields = {"client_key": f"client-{next(numbers)}", "key_id": "key_1"} | fields
        return FeedbackRecord(interaction_id=interaction_id, **fields)

    return make


Adapters = Callable[..., Path]


@pytest.fixture
def adapter(tmp_path: Path) -> Adapters:
    """Return a function that writes a small PEFT folder for a base whose hash is "base-hash".

    Its arguments replace keys of the configuration, and the tensors.
    """
    numbers = itertools.count(1)

    def make(*, tensors: dict[str, Any] | None = None, rank: int = 4, **config: Any) -> Path:
        folder = tmp_path / f"adapter-{next(numbers)}"
        folder.mkdir()
        module = "base_model.model.model.layers.0.self_attn.q_proj"
        if tensors is None:
            tensors = {
                f"{module}.lora_A.weight": np.full((rank, 16), 0.5, np.float32),
                f"{module}.lora_B.weight": np.full((32, rank), 0.25, np.float16),
            }
        settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none"}
        settings |= {"target_modules": ["q_proj"]} | config
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        save_file(tensors, folder / "adapter_model.safetensors")
        artifacts.stamp(folder, base_model="base", base_hash="base-hash")
        return folder

    return make
