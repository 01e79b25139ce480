"""`accelerate launch` for real: one process on the CPU, which is what a test machine has."""

from pathlib import Path

import pytest

from tests.training.trainers.test_sft import content, make_job
from training.errors import FineTuneFailed
from training.execution.local import Worker
from training.recipe.methods import LaunchConfig
from training.recipe.recipe import Recipe

CONFIG = """
compute_environment: LOCAL_MACHINE
distributed_type: "NO"
num_machines: 1
num_processes: 1
use_cpu: true
mixed_precision: "no"
"""


pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.slow
async def test_a_launched_job_gives_the_bytes_of_one_that_is_not(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    config = tmp_path / "accelerate.yaml"
    config.write_text(CONFIG)
    launch = LaunchConfig(accelerate_config=str(config))
    recipe = tiny_recipe.model_copy(update={"launch": launch})
    plain = await worker.train(make_job(tiny_base, train_file, tmp_path / "a", tiny_recipe))
    launched = await worker.train(make_job(tiny_base, train_file, tmp_path / "b", recipe))
    assert launched.losses == plain.losses
    name = "adapter_model.safetensors"
    assert content(launched.adapter)[name] == content(plain.adapter)[name]


async def test_a_configuration_that_is_not_there_is_named(
    worker: Worker, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    launch = LaunchConfig(accelerate_config="/none.yaml")
    recipe = tiny_recipe.model_copy(update={"launch": launch})
    with pytest.raises(FineTuneFailed, match=r"there is no file /none\.yaml"):
        await worker.train(make_job(tiny_base, train_file, tmp_path, recipe))
