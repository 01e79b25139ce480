"""The two task endpoints: suggest the agent's next reply, summarize the conversation.

Both are thin: they turn a conversation into a chat-completion request by the line of business's
prompt, and the answer is the chat completion itself. These are pure functions; inference.py sends
what they make on the same path as any chat completion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from serving import endpoints
from serving.config.lobs import Lob
from serving.config.prompts import Prompt, Task, Turn
from serving.errors import InvalidRequest
from serving.gateway.validation import allowed_fields

PATHS: dict[str, Task] = {
    endpoints.SUGGESTIONS: "suggestion",
    endpoints.SUMMARIES: "summary",
}
SEVERAL_TEMPERATURE = 0.7
"""Where several candidates are asked for: at 0 all would be the same, and vLLM refuses."""
MAX_TOKENS: dict[Task, int] = {"suggestion": 256, "summary": 512}
TURNS_LIMIT = 10_000
METADATA_LIMIT = 16
_ALLOWED = allowed_fields.FIELDS[endpoints.CHAT_COMPLETIONS]
_MADE_BY_US = frozenset({"messages", "response_format", "structured_outputs"})


DRAFT_LIMIT = 4000
SLOTS_LIMIT, SLOT_LIMIT = 64, 1000
AGENT_LIMIT = 256
SlotText = Annotated[str, StringConstraints(max_length=SLOT_LIMIT)]
_KINDS = {
    "model": "a string",
    "conversation": 'a list of turns, each {"role": "customer", "agent" or "knowledge", '
    '"text": …}, with at least one',
    "conversation_id": "a string",
    "structured": "true or false",
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
    structured: bool = Field(False, description="Summaries only: the line's fields as JSON.")
    audience: Literal["agent", "customer"] | None = Field(
        None, description="Who reads the answer first; what goes straight to a customer is held."
    )
    metadata: dict[str, str] | None = Field(
        None, max_length=METADATA_LIMIT, description="The caller's own; it goes nowhere."
    )


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task request, checked.

    `model` is what routing resolves; `sampling` is passed through to the engine.
    """

    lob: str
    model: str
    turns: list[Turn]
    conversation_id: str | None
    structured: bool
    sampling: dict[str, Any]
    draft: str = ""
    knowledge: bool | None = None
    slots: dict[str, str] | None = None
    agent: str | None = None


def parse(
    body: Mapping[str, Any], lobs: Mapping[str, Lob], sampling_fields: frozenset[str], base: str
) -> TaskRequest:
    """Check the body of a task request.

    Args:
        body: The JSON object sent.
        lobs: The configured lines of business.
        sampling_fields: Names of the engine's chat-completion fields; those that are allowed pass.
        base: The served name of the base model, which a task may ask instead of its line's version.

    Raises:
        InvalidRequest: A field is missing, unknown or of the wrong type; names it.
    """
    try:
        sent = TaskBody.model_validate(body)
    except ValidationError as exc:
        raise _refused(exc, lobs) from None
    model = sent.model
    lob = sent.lob if sent.lob is not None else model.partition("@")[0] if model else None
    if lob is None or lob not in lobs:
        raise _no_lob(lobs)
    if model and model not in {lob, base} and model.partition("@")[0] != lob:
        raise InvalidRequest(
            f"`model` {model[:64]} is neither {lob}, a version of it, nor {base}.", param="model"
        )
    sampling = sent.model_extra or {}
    for key in sampling:
        if key not in sampling_fields & _ALLOWED or key in _MADE_BY_US:
            raise allowed_fields.unknown(key)
    allowed_fields.check_values(sampling)
    return TaskRequest(
        lob=lob,
        model=model or lob,
        turns=[Turn(turn.role, turn.text) for turn in sent.conversation],
        conversation_id=sent.conversation_id,
        structured=sent.structured,
        sampling=sampling,
        # A token of white space at the end would keep the next word's own token away.
        draft=(sent.draft or "").rstrip(),
        knowledge=sent.knowledge,
        slots=sent.slots,
        agent=sent.agent,
    )


def _no_lob(lobs: Mapping[str, Lob]) -> InvalidRequest:
    known = ", ".join(sorted(lobs))
    return InvalidRequest(f"`lob` must name a line of business: {known}.", param="lob")


def _refused(exc: ValidationError, lobs: Mapping[str, Lob]) -> InvalidRequest:
    """The first fault of a body, in our words."""
    first = exc.errors(include_url=False)[0]
    match first["loc"]:
        case ("lob", *_):
            return _no_lob(lobs)
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


def chat_body(task: Task, request: TaskRequest, prompt: Prompt, lob: Lob) -> dict[str, Any]:
    """Make the chat-completion body for a task, without `model`.

    Args:
        task: Which of the two.
        request: The checked request.
        prompt: The prompt of this line of business and task.
        lob: Its settings: structured fields and sampling defaults.

    Raises:
        InvalidRequest: Structured output is asked for where the LOB configures no fields.
    """
    fields: dict[str, str] = {}
    body: dict[str, Any] = {}
    if task != "suggestion":
        for name in ("knowledge", "slots", "agent"):
            if getattr(request, name) is not None:
                raise InvalidRequest(f"Only suggestions take `{name}`.", param=name)
    elif request.knowledge and lob.knowledge is None:
        raise InvalidRequest(
            f"{request.lob} has no knowledge: configure lobs.{request.lob}.knowledge.",
            param="knowledge",
        )
    if request.structured:
        if task != "summary":
            raise InvalidRequest("Only summaries can be structured.", param="structured")
        if not lob.summary_fields:
            raise InvalidRequest(
                f"{request.lob} has no structured summary: configure "
                f"lobs.{request.lob}.summary_fields.",
                param="structured",
            )
        fields = lob.summary_fields
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": f"{request.lob}_summary", "schema": schema(fields)},
        }
    messages = prompt.render(
        lob=request.lob,
        task=task,
        turns=request.turns,
        fields=fields,
        description=lob.description,
        guidelines=lob.guidelines,
    )
    if request.draft:
        if task != "suggestion":
            raise InvalidRequest("Only suggestions go on from a draft.", param="draft")
        # vLLM's own: the last message is gone on with, and repeated before what is new.
        messages = [*messages, {"role": "assistant", "content": request.draft}]
        body |= {"continue_final_message": True, "add_generation_prompt": False, "echo": True}
    # The same conversation, the same text, unless somebody asks for more; and a small model that
    # finds no end must not hold its place up to the end of the context.
    asked = {**defaults(task, lob), **request.sampling}
    several = (asked.get("n") or 1) > 1
    ours: dict[str, Any] = {"temperature": SEVERAL_TEMPERATURE if several else 0}
    if "max_completion_tokens" not in asked:
        ours["max_tokens"] = MAX_TOKENS[task]
    return {**ours, **asked, **body, "messages": messages}


def defaults(task: Task, lob: Lob) -> dict[str, Any]:
    """A line's sampling defaults of a task."""
    return lob.summary_defaults if task == "summary" else lob.suggestion_defaults


def schema(fields: Mapping[str, str]) -> dict[str, Any]:
    """The JSON schema of a structured summary: every field a required string."""
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": description}
            for name, description in fields.items()
        },
        "required": list(fields),
        "additionalProperties": False,
    }
