"""The recipe's section on monitoring: what of production is graded, and what raises an alarm."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from training.recipe.base import RecipeSection

MONITORED = Literal[
    "edit_similarity",
    "unsupported_facts",
    "refusals",
    "format_errors",
    "silent",
    "length",
    "people",
    "judge",
]


class GradingConfig(RecipeSection):
    """How many answers a period are drawn for people, or for the judge, to grade."""

    half_width: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Half the width of the interval that is wanted for the mean grade, 0 to 1.",
    )
    cost: float = Field(1.0, gt=0, description="What one grade costs, in a unit of your choice.")
    cost_at_most: float | None = Field(
        None,
        gt=0,
        description="What a period's grades may cost, in the same unit; null sets no limit.",
    )


class AlarmRule(RecipeSection):
    """A figure that is watched in one direction."""

    metric: MONITORED = Field(description="The figure's name.")
    direction: Literal["up", "down"] = Field(description="The direction that is a fault.")
    margin: float = Field(
        0.02, ge=0, lt=1, description="A change of the mean that is tolerated, 0 to 1."
    )


class MonitoringConfig(RecipeSection):
    """How a line's production is graded, and when its drift is told."""

    period_days: float = Field(
        7,
        gt=0,
        description="Days in which the present is collected; periods begin at a Monday, 00:00 UTC.",
    )
    reference_days: float = Field(
        14, gt=0, description="Days that the present is compared with; whole weeks are best."
    )
    reference_until: AwareDatetime | None = Field(
        None,
        description="End of the reference, with its time zone, such as 2026-11-02T00:00:00Z; by "
        "default the period's beginning, so that slow drift moves the reference along.",
    )
    window_s: float = Field(
        1800,
        gt=0,
        description="Of a conversation count the answers so long after its first, and the feedback "
        "so long after each.",
    )
    salt: str = Field(
        "",
        description="Part of the hash that draws the answers to grade; another salt draws anew.",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of each interval.")
    false_alarm: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Probability at most of any false alarm in a period, over all rules and looks "
        "together.",
    )
    people: GradingConfig = Field(GradingConfig(), description="What people are to grade.")
    judge: GradingConfig = Field(
        GradingConfig(half_width=0.02),
        description="What the judge is to grade; its answers hold those of people.",
    )
    alarms: tuple[AlarmRule, ...] = Field(
        (
            AlarmRule(metric="edit_similarity", direction="down"),
            AlarmRule(metric="unsupported_facts", direction="up"),
            AlarmRule(metric="refusals", direction="up", margin=0.01),
            AlarmRule(metric="format_errors", direction="up", margin=0.01),
            AlarmRule(metric="silent", direction="up"),
            AlarmRule(metric="length", direction="up", margin=0.05),
            AlarmRule(metric="length", direction="down", margin=0.05),
            AlarmRule(metric="people", direction="down", margin=0.05),
            AlarmRule(metric="judge", direction="down", margin=0.05),
        ),
        description="What is watched. Fewer rules share the false alarms, and find drift sooner.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        named = [(rule.metric, rule.direction) for rule in self.alarms]
        twice = sorted({" ".join(one) for one in named if named.count(one) > 1})
        if twice:
            raise ValueError(f"alarms names twice: {', '.join(twice)}")
        return self
