"""The recipe's section on the gate."""

from typing import Literal

from pydantic import Field

from training.recipe.base import RecipeSection

METRICS = Literal[
    "edit_similarity",
    "length_deviation",
    "unsupported_facts",
    "rouge_l",
    "chrf",
    "slot_recall",
    "refusals",
    "format_errors",
]


class Superiority(RecipeSection):
    """A metric on which the candidate must be better than what serves now."""

    metric: METRICS = Field(description="The metric's name.")
    margin: float = Field(
        0.0, ge=0, description="The whole interval of the improvement must lie above this."
    )


class NonInferiority(RecipeSection):
    """A metric on which the candidate must not be worse by more than a margin."""

    metric: METRICS = Field(description="The metric's name.")
    margin: float = Field(
        ge=0,
        description="The whole interval of the worsening must lie below this. For rare ones it is "
        "of the share of outputs with any; a margin of 0.1 needs 50 conversations without any.",
    )


class Ceiling(RecipeSection):
    """A limit that holds however bad the version is that serves now."""

    metric: Literal["unsupported_facts"] = Field(description="The metric's name.")
    at_most: float = Field(
        gt=0,
        lt=1,
        description="Share of the held-out conversations with an output above 0 on it; the whole "
        "exact interval must lie at or below this. No event in n conversations shows 3.7 / n.",
    )


class GateConfig(RecipeSection):
    """What a candidate must show before it may serve."""

    superiority: tuple[Superiority, ...] = Field(
        (Superiority(metric="edit_similarity"),),
        min_length=1,
        description="Metrics to be better on.",
    )
    non_inferiority: tuple[NonInferiority, ...] = Field(
        (
            NonInferiority(metric="length_deviation", margin=0.1),
            NonInferiority(metric="unsupported_facts", margin=0.1),
        ),
        description="Metrics to be no worse on.",
    )
    coverage_at_least: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Of the answers shown in conversations that judge, the share whose final text "
        "must be known. Lower it only where feedback does not depend on how good an answer was.",
    )
    ceilings: tuple[Ceiling, ...] = Field(
        (), description="Limits that do not depend on what serves now."
    )
