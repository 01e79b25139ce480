"""Real fine-tuning by the real trainer in the real process; most of the time is its imports."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from serving.adapters.validation import check_adapter
from tests.training.conftest import make_base
from tests.waiting import until
from training.errors import FineTuneFailed
from training.execution.local import Worker
from training.recipe.recipe import Recipe
from training.trainers import cpu
from training.trainers.job import Job

pytestmark = pytest.mark.asyncio(loop_scope="session")


def make_job(base: Path, data: Path, out: Path, recipe: Recipe, **sft: Any) -> Job:
    changed = recipe.model_copy(update={"sft": recipe.sft.model_copy(update=sft)})
    return Job("care", str(base), "hash", "dataset", str(data), str(out), changed.model_dump())


def content(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def wait_for_checkpoint(folder: Path) -> None:
    states = "checkpoint-*/trainer_state.json"
    until(lambda: list(folder.glob(states)), "no checkpoint is written", every_s=0.01)


async def test_a_job_gives_a_servable_adapter_and_the_same_bytes_again(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    first, again = [
        await worker.train(make_job(tiny_base, train_file, tmp_path / name, tiny_recipe))
        for name in ("a", "b")
    ]
    assert (first.examples, first.too_long, first.steps, first.device) == (16, 1, 8, "cpu")
    assert len(first.losses) == 8
    assert first.losses[-1][1] < first.losses[0][1]
    assert first.parameters > 0
    assert (
        check_adapter(
            Path(first.adapter), base_hash="hash", max_rank=8, base_folder=Path(tiny_base)
        )
        == 4
    )
    files = content(first.adapter)
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors", "switchboard.json"}
    assert json.loads(files["switchboard.json"])["dataset_id"] == "dataset"
    assert content(again.adapter) == files
    assert not (tmp_path / "a" / "checkpoints").exists()


async def test_another_seed_gives_another_adapter(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    jobs = [
        make_job(tiny_base, train_file, tmp_path / str(s), tiny_recipe, seed=s, max_steps=2)
        for s in (1, 2)
    ]
    weights = [
        content((await worker.train(job)).adapter)["adapter_model.safetensors"] for job in jobs
    ]
    assert weights[0] != weights[1]


async def test_bfloat16_is_float32_where_the_cpu_would_only_emulate_it(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    jobs = [
        make_job(tiny_base, train_file, tmp_path / d, tiny_recipe, dtype=d, max_steps=1)
        for d in ("float32", "bfloat16")
    ]
    weights = [
        content((await worker.train(job)).adapter)["adapter_model.safetensors"] for job in jobs
    ]
    assert (weights[0] == weights[1]) is not cpu.computes_in_bfloat16(cuda=False)


async def test_an_infinite_loss_is_an_error(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    job = make_job(tiny_base, train_file, tmp_path, tiny_recipe, learning_rate=1e30)
    with pytest.raises(FineTuneFailed, match=r"lower sft\.learning_rate"):
        await worker.train(job)


async def test_examples_that_do_not_fit_are_an_error(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    job = make_job(tiny_base, train_file, tmp_path, tiny_recipe, max_length=16)
    with pytest.raises(FineTuneFailed, match="none of 17 examples fits into 16 tokens"):
        await worker.train(job)


async def test_a_template_that_never_ends_an_answer_is_an_error(
    worker: Worker, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    base = make_base(tmp_path / "base", "{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(FineTuneFailed, match="would never stop"):
        await worker.train(make_job(base, train_file, tmp_path, tiny_recipe))


async def test_a_job_that_raises_leaves_the_process_for_the_next(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    before = worker.pid
    with pytest.raises(FineTuneFailed, match="the trainer stopped"):
        await worker.train(make_job(tmp_path / "none", train_file, tmp_path / "a", tiny_recipe))
    await worker.train(make_job(tiny_base, train_file, tmp_path / "b", tiny_recipe, max_steps=1))
    assert worker.pid == before


@pytest.mark.slow
async def test_a_killed_job_resumes_from_its_checkpoint_to_the_same_bytes(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    whole = make_job(
        tiny_base, train_file, tmp_path / "a", tiny_recipe, checkpoint_steps=5, epochs=50
    )
    killed = make_job(
        tiny_base, train_file, tmp_path / "b", tiny_recipe, checkpoint_steps=5, epochs=50
    )
    expected = await worker.train(whole)
    async with Worker() as victim:
        running = asyncio.create_task(victim.train(killed))
        checkpoints = tmp_path / "b" / "checkpoints"
        await asyncio.to_thread(wait_for_checkpoint, checkpoints)
        assert victim.pid is not None
        os.kill(victim.pid, 9)
        with pytest.raises(FineTuneFailed, match="was killed by signal 9"):
            await running
    assert list(checkpoints.glob("checkpoint-*"))
    resumed = await worker.train(killed)
    assert resumed.steps == expected.steps
    assert content(resumed.adapter) == content(expected.adapter)
