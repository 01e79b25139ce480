"""A stand-in for the trainer, where not the training is tested but what is around it."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from training.execution.local import Worker
from training.trainers.job import Job, Result


def wanted(prompt: str) -> str:
    """Return the agent's final text for a prompt."""
    return f"final text of {prompt}"


class StandIn(Worker):
    """A trainer that is done at once."""

    jobs: list[Job]

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(("true",))
        self.jobs = []
        self.error = error

    async def train(self, job: Job) -> Result:
        self.jobs.append(job)
        if self.error:
            raise self.error
        folder = Path(job.out) / "adapter"
        folder.mkdir()
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        save_file(
            {
                f"{name}A.weight": np.ones((4, 32), np.float32),
                f"{name}B.weight": np.ones((32, 4), np.float32),
            },
            folder / "adapter_model.safetensors",
        )
        (folder / "adapter_config.json").write_text(
            '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],'
            ' "layers_to_transform": [0]}'
        )
        (folder / "switchboard.json").write_text(json.dumps({"base_hash": job.base_hash}))
        return Result(str(folder), 16, 0, 500, 8, 1.0, "cpu", 256, 1 << 20, [(1, 2.0), (2, 1.0)])
