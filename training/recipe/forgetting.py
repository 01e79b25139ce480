"""The recipe's section on forgetting: what the base could do, and how much of it must stay."""

from pathlib import Path

from pydantic import Field

from training.recipe.base import RecipeSection


class ForgettingConfig(RecipeSection):
    """Which prompts of general use are asked, and how far the candidate may leave the base."""

    enabled: bool = Field(False, description="Measure what the candidate forgot.")
    prompts: Path | None = Field(
        None,
        description="JSON Lines with `prompt`, or `messages`; the base's own answers are golden. "
        "By default the forty that come with Switchboard.",
    )
    max_tokens: int = Field(32, ge=1, description="Length of each golden answer in tokens.")
    margin: float | None = Field(
        None,
        ge=0,
        description="Gate: the whole interval of the drop in log-likelihood, nats per token, must "
        "lie at or below this; null only reports it.",
    )
