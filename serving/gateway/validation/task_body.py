"""The body of a request to a task endpoint: its fields, and what is said where one is wrong."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from serving.config.lobs import Lob
from serving.config.structured.insights import Want
from serving.errors import InvalidRequest

TURNS_LIMIT = 10_000
METADATA_LIMIT = 16
DRAFT_LIMIT = 4000
SLOTS_LIMIT, SLOT_LIMIT = 64, 1000
AGENT_LIMIT = 256
SlotText = Annotated[str, StringConstraints(max_length=SLOT_LIMIT)]
_KINDS = {
    "model": "a string",
    "conversation": 'a list of turns, each {"role": "customer", "agent" or "knowledge", '
    '"text": …}, with at least one',
    "conversation_id": "a string",
    "structured": 'true, false or "both"',
    "previous": '{"summary": a text or an object, "turns": how many turns it is of}',
    "for": '"handover"',
    "want": 'a list of at least one of "intent", "sentiment" and "entities"',
    "draft": "a string of at most 4000 characters",
    "knowledge": "true or false",
    "slots": f"an object of at most {SLOTS_LIMIT} texts of at most {SLOT_LIMIT} characters",
    "agent": f"a string of at most {AGENT_LIMIT} characters",
    "audience": '"agent" or "customer"',
    "metadata": f"an object of at most {METADATA_LIMIT} texts",
}


class TurnBody(BaseModel):
    """One message of a conversation, or what a look-up of the agent gave (`knowledge`)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["customer", "agent", "knowledge"]
    text: str


class PreviousBody(BaseModel):
    """A summary of the conversation's first turns."""

    model_config = ConfigDict(extra="forbid", strict=True)

    summary: str | dict[str, Any]
    turns: int = Field(ge=0, description="How many turns it is of; only later ones are read.")


class TaskBody(BaseModel):
    """A task; any sampling field of a chat completion may be added."""

    model_config = ConfigDict(extra="allow", strict=True)

    lob: str | None = Field(
        None, description="Line of business; its live version answers. Or `model` names it."
    )
    conversation: list[TurnBody] = Field(min_length=1, max_length=TURNS_LIMIT)
    conversation_id: str | None = None
    model: str | None = Field(None, description="Pins a version of the line, or asks the base.")
    knowledge: bool | None = Field(
        None, description="Suggestions only: false leaves the line's knowledge out."
    )
    slots: dict[str, SlotText] | None = Field(
        None,
        max_length=SLOTS_LIMIT,
        description="Suggestions only: values for the slots of the responses that are offered.",
    )
    agent: str | None = Field(
        None,
        max_length=AGENT_LIMIT,
        description="Suggestions only: whose own responses are offered, too.",
    )
    draft: str | None = Field(
        None,
        max_length=DRAFT_LIMIT,
        description="Suggestions only: what the agent has typed so far; the answer begins with it.",
    )
    structured: bool | Literal["both"] = Field(
        False,
        description="Summaries only: the line's fields as JSON; `both`: with the free text first.",
    )
    previous: PreviousBody | None = Field(
        None, description="Summaries only: goes on from it, so that its turns are not read again."
    )
    purpose: Literal["handover"] | None = Field(
        None, alias="for", description="Summaries only: what the next agent must know."
    )
    want: list[Want] | None = Field(
        None,
        min_length=1,
        description="Insights only: which of them; without it, all that the line has.",
    )
    audience: Literal["agent", "customer"] | None = Field(
        None, description="Who reads the answer first; what goes straight to a customer is held."
    )
    metadata: dict[str, str] | None = Field(
        None, max_length=METADATA_LIMIT, description="The caller's own; it goes nowhere."
    )


def read(body: Mapping[str, Any], lobs: Mapping[str, Lob]) -> TaskBody:
    """Read a body.

    Args:
        body: The JSON object sent.
        lobs: The configured lines of business.

    Raises:
        InvalidRequest: A field is missing or of the wrong type; names it.
    """
    try:
        return TaskBody.model_validate(body)
    except ValidationError as exc:
        raise _refused(exc, lobs) from None


def no_lob(lobs: Mapping[str, Lob]) -> InvalidRequest:
    """Say which lines of business there are."""
    known = ", ".join(sorted(lobs))
    return InvalidRequest(f"`lob` must name a line of business: {known}.", param="lob")


def _refused(exc: ValidationError, lobs: Mapping[str, Lob]) -> InvalidRequest:
    """The first fault of a body, in our words."""
    first = exc.errors(include_url=False)[0]
    match first["loc"]:
        case ("lob", *_):
            return no_lob(lobs)
        case ("conversation", int(i), *_):
            return InvalidRequest(
                'A turn is {"role": "customer", "agent" or "knowledge", "text": …}, nothing more.',
                param=f"conversation[{i}]",
            )
        case ("conversation", *_) if first["type"] == "too_long":
            return InvalidRequest(
                f"`conversation` has more than {TURNS_LIMIT} turns.", param="conversation"
            )
        case (str(field), *_):
            return InvalidRequest(f"`{field}` must be {_KINDS[field]}.", param=field)
    return InvalidRequest(f"The body: {first['msg']}.")
