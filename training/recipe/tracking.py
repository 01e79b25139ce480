"""The recipe's section on experiment tracking."""

from typing import Literal

from pydantic import Field

from training.recipe.base import RecipeSection


class TrackingConfig(RecipeSection):
    """Where a fine-tuning's loss, learning rate and gradient norm are written, step by step."""

    to: Literal["none", "tensorboard", "mlflow"] = Field(
        "none", description="tensorboard writes event files; mlflow needs the package mlflow."
    )
    folder: str = Field(
        "runs/tracking",
        description="Folder of the event files, in it one a line of business and in that one "
        "a run, or of MLflow's runs.",
    )
    uri: str | None = Field(None, description="MLflow's server, in place of the folder.")
