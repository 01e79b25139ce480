"""The recipe's section on canaries: what is watched, how a share grows, and what ends it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from training.recipe.base import RecipeSection

CANARY_METRICS = Literal[
    "edit_similarity",
    "acceptance",
    "usage",
    "judged",
    "shown",
    "slow_answers",
    "failures",
    "held",
]


class CanaryRule(RecipeSection):
    """A metric and a margin, in the metric's own units: all lie between 0 and 1."""

    metric: CANARY_METRICS = Field(description="The metric's name.")
    margin: float = Field(0.0, ge=0, lt=1, description="What the rule tolerates, or asks beyond 0.")


class CanaryConfig(RecipeSection):
    """How a canary is watched, grown, promoted or rolled back."""

    window_s: float = Field(
        1800,
        gt=0,
        description="A conversation counts once, this long after its first turn, with the turns "
        "and the feedback until then. Shorter: faster decisions on less feedback.",
    )
    slow_ms: float = Field(5000, gt=0, description="An answer that took longer is a slow one.")
    harm: tuple[CanaryRule, ...] = Field(
        (
            CanaryRule(metric="edit_similarity"),
            CanaryRule(metric="acceptance"),
            CanaryRule(metric="usage"),
            CanaryRule(metric="judged"),
            CanaryRule(metric="shown"),
            CanaryRule(metric="slow_answers"),
            CanaryRule(metric="failures"),
            CanaryRule(metric="held"),
        ),
        min_length=1,
        description="Shown to be worse than live by more than the margin, on any: rolled back.",
    )
    superiority: tuple[CanaryRule, ...] = Field(
        (), description="To be promoted, shown to be better by more than the margin, on all."
    )
    non_inferiority: tuple[CanaryRule, ...] = Field(
        (
            CanaryRule(metric="edit_similarity", margin=0.02),
            CanaryRule(metric="acceptance", margin=0.05),
            CanaryRule(metric="usage", margin=0.05),
            CanaryRule(metric="slow_answers", margin=0.05),
            CanaryRule(metric="failures", margin=0.02),
        ),
        description="To be promoted, shown to be worse by no more than the margin, on all.",
    )
    false_rollback: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Probability at most that a canary no worse than live is ever rolled back for "
        "harm, over all metrics and looks together.",
    )
    false_promotion: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Probability at most that a canary that breaks a promotion rule is ever "
        "promoted by the rules.",
    )
    mode: Literal["steps", "thompson"] = Field(
        "steps",
        description="How the share moves: along `steps`, or to the probability that the canary is "
        "the better arm (Thompson sampling). The tests that end a canary are the same.",
    )
    steps: tuple[float, ...] = Field(
        (0.05, 0.2, 0.5), min_length=1, description="Shares of the conversations, growing."
    )
    step_conversations: int = Field(
        50, ge=1, description="Canary conversations to count before the share moves."
    )
    floor: float = Field(
        0.05, gt=0, lt=0.5, description="thompson: the least share of either arm, to keep learning."
    )
    reward: Literal["edit_similarity", "acceptance"] = Field(
        "edit_similarity", description="thompson: the metric on which the better arm is chosen."
    )
    min_conversations: int = Field(
        50, ge=1, description="Conversations in each arm without which nothing is promoted."
    )
    sample_ratio_alpha: float = Field(
        0.001,
        gt=0,
        lt=0.5,
        description="Probability at most that a canary whose conversations split as its share says "
        "is ever rolled back because they seem not to.",
    )
    max_conversations: int = Field(
        20_000, ge=1, description="Conversations, both arms together, after which a canary ends."
    )
    max_hours: float = Field(168, gt=0, description="Hours after which a canary ends.")
    at_end: Literal["roll_back", "promote"] = Field(
        "roll_back",
        description="What happens then to a canary that is shown neither harmful nor good enough.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if any(not 0 < share < 1 for share in self.steps):
            raise ValueError(f"steps must lie between 0 and 1, not {self.steps}")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps must grow, not {self.steps}")
        if not self.superiority and not self.non_inferiority:
            raise ValueError("superiority and non_inferiority are empty: nothing earns a promotion")
        return self
