"""What all sections of a recipe share."""

from pydantic import BaseModel, ConfigDict


class RecipeSection(BaseModel):
    """A frozen section of a recipe that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)
