"""The recipe's section on a student: whose outputs a smaller model learns from."""

from pydantic import Field

from training.recipe.base import RecipeSection


class StudentConfig(RecipeSection):
    """A smaller model, which the server's configuration names, learns from a larger one's outputs.

    The student is `model` of the configuration that the run is given; its registry takes the
    adapter, with that base's hash.
    """

    store: str = Field(
        min_length=1,
        description="The teacher's store: sqlite:///path or postgresql://…, as `store.url`; or "
        "${NAME}, an environment variable: a recipe is kept with its version, so write no password "
        "in it.",
    )
    teacher: str | None = Field(
        None,
        description="The version, or the base's served name, whose outputs to learn; all but "
        "upstreams' by default.",
    )
    rating_at_least: float = Field(
        0.8, ge=0, le=1, description="An unedited output is a target when rated this high."
    )
    used: bool = Field(
        True, description="Whether an unedited, unrated output that was used is a target too."
    )
    kept_at_least: float = Field(
        0.8,
        ge=0,
        le=1,
        description="An edited output teaches, as edited, when this edit similarity was kept.",
    )
