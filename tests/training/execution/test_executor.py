from pathlib import Path

import pytest

from serving.config.settings import Settings
from training.errors import FineTuneFailed
from training.execution import executor
from training.execution.local import Worker
from training.execution.ray_job import RayWorker
from training.recipe.resources import ResourcesConfig


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {"model": "m", "lobs": {"care": {}}, "journal": {"dir": str(tmp_path / "journal")}}
    )


def test_a_recipe_says_where_its_jobs_run(settings: Settings) -> None:
    assert isinstance(executor.make(ResourcesConfig(), settings), Worker)
    there = ResourcesConfig(where="ray", address="10.0.0.1:6379")
    assert isinstance(executor.make(there, settings), RayWorker)


def test_the_cluster_is_the_one_named_or_else_the_server_s_own(settings: Settings) -> None:
    file = settings.ray_address_file
    file.parent.mkdir()
    file.write_text("10.0.0.1:1\n")
    joined = settings.model_copy(update={"ray_address": "10.0.0.3:3"})
    named = ResourcesConfig(address="10.0.0.4:4")
    environment = {"RAY_ADDRESS": "10.0.0.2:2"}
    assert executor.cluster(ResourcesConfig(), settings, {}) == "10.0.0.1:1"
    assert executor.cluster(ResourcesConfig(), settings, environment) == "10.0.0.2:2"
    assert executor.cluster(ResourcesConfig(), joined, environment) == "10.0.0.3:3"
    assert executor.cluster(named, joined, environment) == "10.0.0.4:4"


def test_without_a_server_the_error_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(FineTuneFailed, match=r"`switchboard serve`.*--on local"):
        executor.cluster(ResourcesConfig(), settings, {})


def test_training_yields_on_ray_and_keeps_its_priority_locally_unless_told() -> None:
    assert ResourcesConfig(where="ray").niceness == 19
    assert ResourcesConfig().niceness == 0
    assert ResourcesConfig(where="ray", nice=0).niceness == 0
    assert ResourcesConfig(nice=5).niceness == 5
