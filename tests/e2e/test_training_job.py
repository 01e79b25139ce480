"""A training job on the cluster that serves, while it serves."""

import asyncio
import json
from pathlib import Path

import pytest

from serving.adapters import artifacts, validation
from serving.config import settings as server_settings
from tests.e2e.server import Server
from training.execution import executor
from training.recipe.recipe import Lora, Recipe, Sft
from training.recipe.resources import ResourcesConfig
from training.trainers.job import Job

pytestmark = pytest.mark.e2e
ROWS = [(f"customer: where is order {n}?", f"I will look up order {n} for you.") for n in range(8)]


def rows(file: Path) -> Path:
    lines = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": completion}],
        }
        for prompt, completion in ROWS
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


async def test_a_job_finds_the_server_s_cluster_and_serving_goes_on(
    server: Server, base_model: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        lora=Lora(rank=4),
        sft=Sft(max_steps=2, batch_size=2, max_length=512, device="cpu", threads=1),
    )
    base_hash = artifacts.model_hash(str(base_model))
    job = Job(
        lob="care",
        base_model=str(base_model),
        base_hash=base_hash,
        dataset_id="d",
        train_file=str(rows(tmp_path / "train.jsonl")),
        out=str(tmp_path / "out"),
        recipe=recipe.model_dump(mode="json"),
    )
    there = ResourcesConfig(where="ray", nice=0, folder=str(tmp_path / "there"))
    settings = await asyncio.to_thread(server_settings.load, server.config)
    answers: list[int] = []
    with server.http() as http:
        async with executor.make(there, settings) as worker:
            running = asyncio.create_task(worker.train(job))
            body = {"model": "base", "messages": [{"role": "user", "content": "hi"}]}
            while not running.done():
                answer = await asyncio.to_thread(
                    http.post, "/v1/chat/completions", json=body | {"max_tokens": 4}
                )
                answers.append(answer.status_code)
                await asyncio.sleep(0.2)
            result = await running
    assert (result.steps, result.adapter) == (2, str(tmp_path / "out" / "adapter"))
    rank = validation.check_adapter(
        Path(result.adapter), base_hash=base_hash, max_rank=16, base_folder=base_model
    )
    assert rank == 4
    assert set(answers) == {200}
