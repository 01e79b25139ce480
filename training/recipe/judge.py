"""The recipe's section on the judge: a model that compares two texts, and what it may decide."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from training.recipe.base import RecipeSection


class JudgeConfig(RecipeSection):
    """Which model judges, how it is asked, and what people must say of it before it counts."""

    enabled: bool = Field(False, description="Have a model compare candidate and live.")
    model: str | None = Field(
        None, description="The judge's name on its server; by default the base's."
    )
    url: str | None = Field(
        None,
        description="Address of another OpenAI-compatible server, with /v1. The texts go there, "
        "redacted as in the dataset. By default the server that is evaluated.",
    )
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the key for `url`; none sends no key."
    )
    template: Path | None = Field(
        None,
        description="Jinja file with the blocks system and user; by default the one that comes "
        "with Switchboard. Its hash stands in the report.",
    )
    constrained: bool = Field(
        True,
        description="Allow no words but A, B and tie, by vLLM's structured_outputs; false for "
        "servers that do not know it.",
    )
    max_tokens: int = Field(8, ge=1, description="Longest answer of the judge in tokens.")
    human_pairs: int = Field(
        100, ge=2, description="Most pairs from feedback on which the judge is compared to people."
    )
    agreement_floor: float = Field(
        0.6,
        ge=0.5,
        lt=1,
        description="The judge decides in the gate only if the whole interval of its agreement "
        "with people lies above this; 0.5 is chance.",
    )
    win_rate_above: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Gate: the whole interval of the candidate's win rate against live must lie "
        "above this; null only reports it.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.win_rate_above is not None and not self.enabled:
            raise ValueError("win_rate_above needs enabled: true: else nobody is asked")
        if self.api_key_env is not None and self.url is None:
            raise ValueError("api_key_env needs url: the own server takes SWITCHBOARD_API_KEY")
        return self
