"""The bodies that our own endpoints take."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator


class FeedbackBody(BaseModel):
    """What an agent's desktop sends about one response."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=128, description="The response's own id.")
    index: StrictInt = Field(
        0, ge=0, lt=2**31, description="Which of the response's `choices`, by its `index`."
    )
    key: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Idempotency key: sending the same again changes nothing; other content: 409.",
    )
    lob: str | None = Field(None, description="If given, must be the interaction's.")
    rating: float | Literal["up", "down"] | None = Field(
        None, description="0 (useless) to 1 (perfect), or a thumb."
    )
    edit: str | None = Field(
        None, max_length=100_000, description="The text that the agent finally used."
    )
    used: bool | None = Field(None, description="The agent used the output, edited or not.")
    rejected: bool | None = Field(None, description="The agent discarded the output.")
    comment: str | None = Field(None, max_length=10_000)

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackBody":
        said = (self.rating, self.edit, self.used, self.rejected, self.comment)
        if all(value is None for value in said):
            raise ValueError("give at least one of rating, edit, used, rejected, comment")
        if isinstance(self.rating, float) and not 0 <= self.rating <= 1:
            raise ValueError("rating is from 0 to 1")
        if self.used and self.rejected:
            raise ValueError("used and rejected contradict each other")
        return self


class CanaryBody(BaseModel):
    """How much of a line of business's conversations a canary answers."""

    model_config = ConfigDict(extra="forbid")

    share: float = Field(gt=0, lt=1)
    force: bool = False


class PromoteBody(BaseModel):
    """Options of a promotion."""

    model_config = ConfigDict(extra="forbid")

    force: bool = Field(False, description="Promote a version that the gate rejected.")


class RollbackBody(BaseModel):
    """What a rollback is meant to end."""

    model_config = ConfigDict(extra="forbid")

    canary: str | None = Field(
        None, description="Stop this canary only; 409 if it has ended, and nothing changes."
    )
