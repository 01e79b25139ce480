"""How long a line's rows are kept."""

from typing import Annotated

from pydantic import Field

from serving.config.base import Section

Days = Annotated[float, Field(gt=0, le=36500)]


class Retention(Section):
    """Days after which rows of a line are deleted from the store; null keeps them."""

    interactions: Days | None = Field(
        None,
        description="Days from the request until an interaction goes, with its feedback, events, "
        "shadow answers, redaction, originals, grades and review task; null keeps.",
    )
    feedback: Days | None = Field(
        None, description="Days from when it came until feedback goes; null keeps."
    )
    events: Days | None = Field(
        None, description="Days from when it came until an event goes; null keeps."
    )
    shadow_answers: Days | None = Field(
        None, description="Days from when it was made until a shadow's answer goes; null keeps."
    )
    reviews: Days | None = Field(
        None,
        description="Days from its decision or expiry until a review task goes; null keeps.",
    )
    vault: Days | None = Field(
        None, description="Days from the request until its originals go; null keeps."
    )
