"""The two task endpoints: suggest the agent's next reply, summarize the conversation.

Both are thin: they turn a conversation into a chat-completion request by the line of business's
prompt, and the answer is the chat completion itself. These are pure functions; inference.py sends
what they make on the same path as any chat completion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.config.lobs import Lob
from serving.config.prompts import Prompt, Task, Turn
from serving.errors import InvalidRequest
from serving.gateway import allowed_fields

PATHS: dict[str, Task] = {"/v1/suggestions": "suggestion", "/v1/summaries": "summary"}
SEVERAL_TEMPERATURE = 0.7
"""Where several candidates are asked for: at 0 all would be the same, and vLLM refuses."""
MAX_TOKENS: dict[Task, int] = {"suggestion": 256, "summary": 512}
TURNS_LIMIT = 10_000
_OWN = frozenset({"lob", "model", "conversation", "conversation_id", "structured", "metadata"})
METADATA_LIMIT = 16
_ALLOWED = allowed_fields.FIELDS["/v1/chat/completions"]
_MADE_BY_US = frozenset({"messages", "response_format", "structured_outputs"})


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
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("`model` must be a string.", param="model")
    lob = body.get("lob", model.partition("@")[0] if model else None)
    if not isinstance(lob, str) or lob not in lobs:
        known = ", ".join(sorted(lobs))
        raise InvalidRequest(f"`lob` must name a line of business: {known}.", param="lob")
    if model and model not in {lob, base} and model.partition("@")[0] != lob:
        raise InvalidRequest(
            f"`model` {model[:64]} is neither {lob}, a version of it, nor {base}.", param="model"
        )
    conversation_id = body.get("conversation_id")
    if conversation_id is not None and not isinstance(conversation_id, str):
        raise InvalidRequest("`conversation_id` must be a string.", param="conversation_id")
    structured = body.get("structured", False)
    if not isinstance(structured, bool):
        raise InvalidRequest("`structured` must be true or false.", param="structured")
    _check_metadata(body.get("metadata"))
    sampling = {key: value for key, value in body.items() if key not in _OWN}
    for key in sampling:
        if key not in sampling_fields & _ALLOWED or key in _MADE_BY_US:
            raise allowed_fields.unknown(key)
    allowed_fields.check_values(sampling)
    return TaskRequest(
        lob, model or lob, _turns(body.get("conversation")), conversation_id, structured, sampling
    )


def _check_metadata(metadata: Any) -> None:
    """OpenAI's clients send it; it is the caller's own and goes nowhere."""
    if metadata is None:
        return
    if (
        not isinstance(metadata, dict)
        or len(metadata) > METADATA_LIMIT
        or not all(isinstance(value, str) for value in metadata.values())
    ):
        raise InvalidRequest(
            f"`metadata` must be an object of at most {METADATA_LIMIT} texts.", param="metadata"
        )


def _turns(conversation: Any) -> list[Turn]:
    if not isinstance(conversation, list) or not conversation:
        raise InvalidRequest(
            '`conversation` must be a list of turns, each {"role": "customer" or "agent", '
            '"text": …}, with at least one.',
            param="conversation",
        )
    if len(conversation) > TURNS_LIMIT:
        raise InvalidRequest(
            f"`conversation` has {len(conversation)} turns; at most {TURNS_LIMIT} are read.",
            param="conversation",
        )
    turns = []
    for i, turn in enumerate(conversation):
        match turn:
            case {"role": ("customer" | "agent") as role, "text": str(text)} if len(turn) == 2:
                turns.append(Turn(role, text))
            case _:
                raise InvalidRequest(
                    'A turn is {"role": "customer" or "agent", "text": …}, nothing more.',
                    param=f"conversation[{i}]",
                )
    return turns


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
