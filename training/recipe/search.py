"""The recipe's section on searching for hyperparameters: what is varied, and between which ends."""

from typing import Self

from pydantic import Field, model_validator

from training.recipe.base import RecipeSection


class SearchConfig(RecipeSection):
    """What `switchboard train --search N` tries; whatever is left empty stays as the recipe says.

    Epochs and learning rate are those of the method's last stage.
    """

    learning_rate: tuple[float, float] | None = Field(
        None,
        description="Lowest and highest, drawn on a logarithmic scale. By default from a quarter "
        "of the recipe's to four times it.",
    )
    rank: tuple[int, ...] = Field((), description="Ranks; at most the server's adapters.max_rank.")
    alpha_per_rank: tuple[float, ...] = Field(
        (), description="alpha as so many times the rank; by default the recipe's ratio is kept."
    )
    epochs: tuple[float, ...] = Field((), description="Passes over the training examples.")
    validation_share: float = Field(
        0.15,
        gt=0,
        lt=0.5,
        description="Share of the training conversations that the trials are compared on, where "
        "the recipe's own validation.share is 0.",
    )
    seed: int = Field(0, ge=0, description="The same seed tries the same points.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.learning_rate and not 0 < self.learning_rate[0] <= self.learning_rate[1]:
            raise ValueError(f"learning_rate must be 0 < lowest <= highest: {self.learning_rate}")
        for name in ("rank", "alpha_per_rank", "epochs"):
            values = getattr(self, name)
            if any(value <= 0 for value in values) or len(set(values)) != len(values):
                raise ValueError(f"{name} must be distinct and above 0, not {values}")
        return self
