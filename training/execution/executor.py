"""Where a job runs: a process of this machine, or one of the serving cluster."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from serving.config.settings import Settings
from training.errors import FineTuneFailed
from training.execution import nice
from training.execution.local import MODULE, Worker
from training.recipe.resources import ResourcesConfig
from training.trainers.job import Job, Result


class Trainer(Protocol):
    """What does jobs, one after the other, while it is entered."""

    async def __aenter__(self) -> Self:
        """Start it."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, and the job that it does."""
        ...

    async def train(self, job: Job) -> Result:
        """Run a job; raises FineTuneFailed."""
        ...


def make(resources: ResourcesConfig, settings: Settings) -> Trainer:
    """Return the trainer that a recipe asks for; nothing is started yet.

    Raises:
        FineTuneFailed: There is no cluster to train on.
    """
    if resources.where == "local":
        return Worker(nice.command(resources.niceness, MODULE))
    from training.execution.ray_job import RayWorker

    return RayWorker(resources, cluster(resources, settings, os.environ))


def cluster(resources: ResourcesConfig, settings: Settings, environment: Mapping[str, str]) -> str:
    """Return the address of the serving cluster.

    Raises:
        FineTuneFailed: None is named, and no server runs on this machine.
    """
    named = resources.address or settings.ray_address or environment.get("RAY_ADDRESS", "")
    if named:
        return named
    try:
        return settings.ray_address_file.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise FineTuneFailed(
            "there is no cluster to train on: no server of this configuration runs on this "
            f"machine ({settings.ray_address_file} is missing). Start it with `switchboard serve`, "
            "name a cluster in resources.address, or train with --on local"
        ) from exc
