"""The task endpoints: suggest the agent's next reply, summarize the conversation, classify it.

They are thin: they turn a conversation into a chat-completion request by the line of business's
prompt, and the answer is the chat completion itself. These are pure functions; inference.py sends
what they make on the same path as any chat completion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from serving import endpoints
from serving.config.lobs import Lob
from serving.config.prompting import messages as prompting
from serving.config.prompts import Prompt, Task, Turn
from serving.config.structured import fields as typed
from serving.config.structured.insights import SENTIMENTS_LIMIT, Insights, Want
from serving.errors import InvalidRequest
from serving.gateway.validation import allowed_fields, task_body
from serving.intents.classifier import Guess

PATHS: dict[str, Task] = {
    endpoints.SUGGESTIONS: "suggestion",
    endpoints.SUMMARIES: "summary",
    endpoints.INSIGHTS: "insight",
}
SEVERAL_TEMPERATURE = 0.7
"""Where several candidates are asked for: at 0 all would be the same, and vLLM refuses."""
MAX_TOKENS: dict[Task, int] = {"suggestion": 256, "summary": 512, "handover": 512, "insight": 64}
MAX_TOKENS_OF_A_SENTIMENT = 20
MAX_TOKENS_OF_ENTITIES = 400
_ALLOWED = allowed_fields.FIELDS[endpoints.CHAT_COMPLETIONS]
_MADE_BY_US = frozenset({"messages", "response_format", "structured_outputs"})


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task request, checked.

    `model` is what routing resolves; `sampling` is passed through to the engine. `turns` is the
    whole conversation, of which the first `read` are told by `previous` alone. `draft` is without
    the white space at its end, which is `gap`; `drafting` is whether there was one, an empty too.
    `guess` is the intent that the line's classifier gives.
    """

    lob: str
    model: str
    turns: list[Turn]
    conversation_id: str | None
    structured: bool | Literal["both"]
    sampling: dict[str, Any]
    draft: str = ""
    gap: str = ""
    drafting: bool = False
    knowledge: bool | None = None
    slots: dict[str, str] | None = None
    agent: str | None = None
    previous: str | None = None
    read: int = 0
    purpose: Literal["handover"] | None = None
    want: tuple[Want, ...] | None = None
    guess: Guess | None = None

    @property
    def customers(self) -> list[int]:
        """The indexes of the customer's turns."""
        return [i for i, turn in enumerate(self.turns) if turn.role == "customer"]

    def asked(self) -> dict[str, Any]:
        """Return what was asked beside what the engine gets, to be stored.

        With its turns, as the prompt was rendered from them: another prompt can be tried on them.
        """
        given: dict[str, Any] = {"structured": self.structured or None, "for": self.purpose}
        given["want"] = self.want
        given["conversation"] = [turn.as_json() for turn in self.turns[self.read :]]
        if self.previous is not None:
            given["previous"] = {"turns": self.read, "summary": self.previous}
        if self.guess is not None:
            by = self.guess
            given["classified"] = {"classifier": by.model, "probability": by.probability}
        return {name: value for name, value in given.items() if value is not None}


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
    sent = task_body.read(body, lobs)
    model = sent.model
    lob = sent.lob if sent.lob is not None else model.partition("@")[0] if model else None
    if lob is None or lob not in lobs:
        raise task_body.no_lob(lobs)
    if model and model not in {lob, base} and model.partition("@")[0] != lob:
        raise InvalidRequest(
            f"`model` {model[:64]} is neither {lob}, a version of it, nor {base}.", param="model"
        )
    sampling = sent.model_extra or {}
    for key in sampling:
        if key not in sampling_fields & _ALLOWED or key in _MADE_BY_US:
            raise allowed_fields.unknown(key)
    allowed_fields.check_values(sampling)
    # A token of white space at the end would keep the next word's own token away.
    draft = (sent.draft or "").rstrip()
    before = sent.previous
    if before is not None and before.turns > len(sent.conversation):
        raise InvalidRequest(
            f"`previous.turns` is {before.turns}, and the conversation has only "
            f"{len(sent.conversation)} turns.",
            param="previous.turns",
        )
    return TaskRequest(
        lob=lob,
        model=model or lob,
        turns=[Turn(turn.role, turn.text) for turn in sent.conversation],
        conversation_id=sent.conversation_id,
        structured=sent.structured,
        sampling=sampling,
        draft=draft,
        gap=(sent.draft or "")[len(draft) :],
        drafting=sent.draft is not None,
        knowledge=sent.knowledge,
        slots=sent.slots,
        agent=sent.agent,
        previous=None if before is None else _text(before.summary),
        read=0 if before is None else before.turns,
        purpose=sent.purpose,
        want=None if sent.want is None else tuple(sent.want),
    )


def _text(summary: str | Mapping[str, Any]) -> str:
    return summary if isinstance(summary, str) else orjson.dumps(summary).decode()


def prompt_of(task: Task, request: TaskRequest) -> Task:
    """Return the task whose prompt a request gets."""
    return request.purpose or task


def chat_body(task: Task, request: TaskRequest, prompt: Prompt, lob: Lob) -> dict[str, Any]:
    """Make the chat-completion body for a task, without `model`.

    Args:
        task: Which of them.
        request: The checked request.
        prompt: The prompt of this line of business and `prompt_of` the request.
        lob: Its settings: structured fields and sampling defaults.

    Raises:
        InvalidRequest: What only summaries have is asked of another task, structured output where
            the LOB configures no fields, or to go on from a summary by a prompt that tells of none.
    """
    _check_kind(task, request, prompt, lob)
    body: dict[str, Any] = {}
    want: tuple[Want, ...] = ()
    if request.structured:
        both = request.structured == "both"
        schema = typed.schema(lob.summary_fields, text=both)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": f"{request.lob}_summary", "schema": schema},
        }
    elif task == "insight":
        want = _wanted(request, lob.insights)
        schema = lob.insights.answer_schema(want, request.customers)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": f"{request.lob}_insight", "schema": schema},
        }
    messages = prompting.render(
        prompt,
        request.lob,
        lob,
        task,
        request.turns[request.read :],
        fields=prompting.fields(lob, request.structured, want),
        previous=request.previous or "",
    )
    of_line, short = defaults(task, lob), dict[str, Any]()
    if request.draft:
        # vLLM's own: the last message is gone on with. That it repeats it (`echo`) is not asked:
        # it would then read none of the prompt from its cache (`skip_reading_prefix_cache`).
        messages = [*messages, {"role": "assistant", "content": request.draft}]
        body |= {"continue_final_message": True, "add_generation_prompt": False}
        short = {"max_tokens": lob.suggestions.completion_tokens}
        if lob.suggestions.completion_stops:
            short |= {"stop": lob.suggestions.completion_stops, "include_stop_str_in_output": True}
        if "max_completion_tokens" in request.sampling:
            del short["max_tokens"]
        of_line = {k: v for k, v in of_line.items() if k != "max_completion_tokens"}
    # The same conversation, the same text, unless somebody asks for more; and a small model that
    # finds no end must not hold its place up to the end of the context.
    asked = {**of_line, **short, **request.sampling}
    several = (asked.get("n") or 1) > 1
    ours: dict[str, Any] = {"temperature": SEVERAL_TEMPERATURE if several else 0}
    if "max_completion_tokens" not in asked:
        ours["max_tokens"] = MAX_TOKENS[task]
        if "sentiment" in want:
            ours["max_tokens"] += MAX_TOKENS_OF_A_SENTIMENT * len(request.customers)
        if "entities" in want:
            ours["max_tokens"] += MAX_TOKENS_OF_ENTITIES
    return {**ours, **asked, **body, "messages": messages}


def _wanted(request: TaskRequest, insights: Insights) -> tuple[Want, ...]:
    """What is asked; all that the line has, where nothing is named."""
    moods = request.want is None or "sentiment" in request.want
    if moods and len(request.customers) > SENTIMENTS_LIMIT:
        raise InvalidRequest(
            f"Sentiments are told of at most {SENTIMENTS_LIMIT} turns of the customer's.",
            param="conversation",
        )
    if request.want is None:
        return ("intent", "sentiment", "entities") if insights.entities else ("intent", "sentiment")
    if "entities" in request.want and not insights.entities:
        raise InvalidRequest(
            f"{request.lob} has no kinds of entities: configure lobs.{request.lob}.insights."
            "entities.",
            param="want",
        )
    return request.want


def _check_kind(task: Task, request: TaskRequest, prompt: Prompt, lob: Lob) -> None:
    """Refuse what does not go together."""
    if request.draft and task != "suggestion":
        raise InvalidRequest("Only suggestions go on from a draft.", param="draft")
    if task != "suggestion":
        for name in ("knowledge", "slots", "agent"):
            if getattr(request, name) is not None:
                raise InvalidRequest(f"Only suggestions take `{name}`.", param=name)
    elif request.knowledge and lob.knowledge is None:
        raise InvalidRequest(
            f"{request.lob} has no knowledge: configure lobs.{request.lob}.knowledge.",
            param="knowledge",
        )
    summary = task == "summary"
    if request.structured and not summary:
        raise InvalidRequest("Only summaries can be structured.", param="structured")
    if request.previous is not None and not summary:
        raise InvalidRequest("Only summaries go on from a previous one.", param="previous")
    if request.want is not None and task != "insight":
        raise InvalidRequest("Only insights are wanted by name.", param="want")
    if request.purpose and not summary:
        raise InvalidRequest("Only summaries are for a hand-over.", param="for")
    if request.structured and request.purpose:
        raise InvalidRequest("A hand-over is a text: leave `structured` out.", param="structured")
    if request.structured and not lob.summary_fields:
        raise InvalidRequest(
            f"{request.lob} has no structured summary: configure "
            f"lobs.{request.lob}.summary_fields.",
            param="structured",
        )
    if request.previous is not None and not prompt.goes_on:
        raise InvalidRequest(
            f"The prompt {prompt.name}.jinja has no variable `previous`, so it cannot go on.",
            param="previous",
        )


def defaults(task: Task, lob: Lob) -> dict[str, Any]:
    """A line's sampling defaults of a task."""
    return {"summary": lob.summary_defaults, "suggestion": lob.suggestion_defaults}.get(task, {})
