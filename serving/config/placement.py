"""Where replicas run, and how many."""

from typing import Literal

from pydantic import Field, model_validator

from serving.config.base import Section


class Placement(Section):
    """Where a replica's processes run, for engines that span GPUs or nodes."""

    bundles: list[dict[str, float]] = Field(
        default_factory=list,
        description=(
            "Ray placement group of a replica, such as [{CPU: 1, GPU: 1}, {GPU: 1}]; the first "
            "bundle holds the replica. Empty: a replica reserves `resources` on one node."
        ),
    )
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = Field(
        "PACK", description="How Ray lays the bundles over nodes."
    )
    max_replicas_per_node: int | None = Field(
        None, ge=1, le=100, description="Spreads replicas over nodes; not with bundles."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "Placement":
        if self.bundles and self.max_replicas_per_node is not None:
            raise ValueError("bundles and max_replicas_per_node exclude each other (Ray Serve)")
        return self


class Autoscaling(Section):
    """How many replicas run, by load; off unless `max_replicas` is set."""

    min_replicas: int = Field(1, ge=1, description="Fewest replicas, where autoscaling is on.")
    max_replicas: int = Field(0, ge=0, description="Most replicas. 0: always `replicas`.")
    target_ongoing_requests: float = Field(
        32.0, gt=0, description="Requests in flight per replica that Ray Serve aims at."
    )
    upscale_delay_s: float = Field(30.0, ge=0, description="Load must last this long to add one.")
    downscale_delay_s: float = Field(
        600.0, ge=0, description="Calm must last this long to remove one."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscaling":
        if self.max_replicas and self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self
