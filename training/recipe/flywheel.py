"""The recipe's section on the flywheel: when a cycle begins, what follows, and who is told."""

from typing import Self

from pydantic import Field, model_validator

from training.recipe.base import RecipeSection

DAY_H = 24


class FlywheelConfig(RecipeSection):
    """When a line of business is trained again without anyone asking."""

    every_hours: float = Field(
        24, gt=0, description="From the beginning of one cycle to that of the next."
    )
    at_hour: float | None = Field(
        None,
        ge=0,
        lt=24,
        description="Hour of the day, UTC, at which cycles begin, such as 3.5; every_hours is then "
        "whole days. By default a cycle begins as soon as every_hours have passed.",
    )
    min_new_feedback: int = Field(
        50, ge=1, description="Feedback since the last judged cycle's; with less, a cycle waits."
    )
    canary: bool = Field(
        True,
        description="A version that passes the gate answers on canary first; false makes it live "
        "at once.",
    )
    look_s: float = Field(60, gt=0, description="Seconds between two looks at a canary.")
    retries: int = Field(
        5, ge=0, description="A step that fails is tried so often again; then the cycle has failed."
    )
    backoff_s: float = Field(
        60, gt=0, description="Wait before the first retry; it doubles with every one."
    )
    backoff_cap_s: float = Field(3600, gt=0, description="Longest wait before a retry.")
    lease_s: float = Field(
        60,
        ge=1,
        description="A scheduler that is silent for so long has lost its work to another.",
    )
    webhook_env: str = Field(
        "SWITCHBOARD_WEBHOOK",
        description="Environment variable with the address to be told of failures and of versions "
        "turned down; nobody is told where it is not set.",
    )
    webhook_secret_env: str = Field(
        "SWITCHBOARD_WEBHOOK_SECRET",
        description="Environment variable with the secret that signs what is sent (HMAC-SHA256).",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.at_hour is not None and self.every_hours % DAY_H:
            raise ValueError(
                f"every_hours must be whole days where at_hour is set, not {self.every_hours:g}"
            )
        if self.backoff_cap_s < self.backoff_s:
            raise ValueError(
                f"backoff_cap_s ({self.backoff_cap_s:g}) is below backoff_s ({self.backoff_s:g})"
            )
        return self
