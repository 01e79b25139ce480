"""The recipe's section on curation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from training.recipe.base import RecipeSection


class CurationConfig(RecipeSection):
    """Which feedback becomes examples."""

    tasks: tuple[Literal["chat", "response", "suggestion", "summary"], ...] = Field(
        ("chat", "response", "suggestion", "summary"),
        min_length=1,
        description="Kinds of interaction to learn from.",
    )
    rating_at_least: float = Field(
        0.8,
        ge=0,
        le=1,
        description="An unedited output becomes a target when its rating is this high (0 to 1).",
    )
    rating_at_most: float = Field(
        0.2,
        ge=0,
        le=1,
        description="An unedited output rated this low or lower is undesirable (KTO).",
    )
    near_duplicate_similarity: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Jaccard similarity of prompts and of targets from which the newer of two "
        "examples is dropped; 1 drops only the same words.",
    )
    greeting_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of the greetings and closings to learn from; value lies in the middle.",
    )
    agent_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Most that one agent gives of the training examples; 1 sets no limit.",
    )
    key_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Most that one API key's feedback gives of the usable interactions; 1 sets no "
        "limit.",
    )
    recent_days: float = Field(
        90,
        gt=0,
        description="Examples this much older than the newest are older data, and judge no more.",
    )
    replay_share: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Most of the training examples that are older data, against forgetting.",
    )
    replay_base_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Most of the training examples that are the base's own good, older outputs.",
    )
    golden_share: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="Share of the conversations set aside until the golden set is frozen.",
    )
    golden_conversations: int = Field(
        30,
        ge=1,
        description="With so many conversations the golden set is frozen, for ever.",
    )
    min_examples: int = Field(
        30, ge=2, description="Fewer usable examples than this, and nothing is trained."
    )
    min_conversations: int = Field(
        10, ge=2, description="Fewer conversations than this, and nothing is trained."
    )
    holdout_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the conversations, drawn by a hash of their ids, that only judge.",
    )
    holdout_salt: str = Field(
        "",
        description="Part of that hash. With a secret of yours nobody can choose ids that judge; "
        "another salt draws anew, from conversations that begin later.",
    )
    max_holdout: int = Field(
        1000,
        ge=2,
        description="Answers that judge at most; each agent, task and position has its share.",
    )
    min_holdout: int = Field(
        5,
        ge=2,
        description="Conversations that must judge; an interval from fewer says little.",
    )
    redact: bool = Field(
        True,
        description="Replace e-mail, phone, card, account and order numbers by others like them.",
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.min_conversations <= self.min_holdout:
            raise ValueError(
                f"min_conversations ({self.min_conversations}) must exceed min_holdout "
                f"({self.min_holdout}): nothing would be left to train on"
            )
        if self.rating_at_most >= self.rating_at_least:
            raise ValueError(
                f"rating_at_most ({self.rating_at_most:g}) must be below rating_at_least "
                f"({self.rating_at_least:g}): no output is good and bad"
            )
        if self.replay_share + self.replay_base_share >= 1:
            raise ValueError(
                "replay_share and replay_base_share must be below 1 together: the rest is recent"
            )
        return self
