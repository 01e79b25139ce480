"""The recipe's section on where training runs and what it may take from what serves."""

from typing import Literal

from pydantic import Field

from training.recipe.base import RecipeSection

LOWEST_PRIORITY = 19


class ResourcesConfig(RecipeSection):
    """Where training runs and what it holds; no part of what decides the adapter's bytes."""

    where: Literal["local", "ray"] = Field(
        "local",
        description="local: a process on this machine. ray: a job on the serving cluster, on "
        "resources that Ray sets apart from the replicas'.",
    )
    address: str = Field(
        "",
        description="ray: the cluster, auto or HOST:6379. Empty: the server's ray_address, "
        "RAY_ADDRESS, or the cluster that the server on this machine has started.",
    )
    cpus: float = Field(
        1.0, gt=0, description="ray: CPUs to reserve; also the threads, unless sft.threads is set."
    )
    gpus: float = Field(
        0.0, ge=0, description="ray: GPUs to reserve; with 0 the job sees no GPU at all."
    )
    custom: dict[str, float] = Field(
        default_factory=dict,
        description="ray: other resources to reserve, such as training: 1 of a machine that joined "
        "with `ray start --resources`.",
    )
    nice: int | None = Field(
        None,
        ge=0,
        le=LOWEST_PRIORITY,
        description="Priority of the training process, 19 the lowest: it then runs when nothing "
        "else wants the core. By default 19 on ray, and unchanged locally.",
    )
    wait_s: float = Field(
        600.0, gt=0, description="ray: longest wait for the resources to be free."
    )
    retries: int = Field(
        2,
        ge=0,
        description="ray: how often a job whose process or machine was lost begins again, from "
        "its last checkpoint where that is left (sft.checkpoint_steps).",
    )
    folder: str = Field(
        "",
        description="ray: folder for checkpoints on the machine that trains, such as a shared one. "
        "Empty: one of this user's under its temporary folder.",
    )

    @property
    def niceness(self) -> int:
        """The nice value to run at."""
        if self.nice is not None:
            return self.nice
        return LOWEST_PRIORITY if self.where == "ray" else 0
