"""An example: what a model saw and answered, and what the agent made of it.

Pure functions from an interaction with its feedback to one `Example`. What the feedback says is
merged first (`verdict`), then read as one label (`label`): an edit is a target, an output that was
used or highly rated is its own target, one that was rejected is no target but still tells good from
bad.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from serving import chat_template
from serving.redaction.surrogates import redact
from serving.store import candidates
from serving.store.records import (
    FeedbackRecord,
    InteractionRecord,
    LabelledInteraction,
    Status,
)
from training.data.forms import asked as asked_for
from training.recipe.curation import CurationConfig

Source = Literal["edit", "rating", "used", "rejection"]
TARGETS: tuple[Source, ...] = ("edit", "rating", "used")
"""Sources whose text is worth imitating."""

_AGENT_DIGITS = 12


@dataclass(frozen=True)
class Message:
    """One chat message of plain text."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """What the model saw, what it answered, and what the agent made of it.

    Args:
        interaction_id: The response's id; of a candidate k other than the first, `id#k`.
        conversation_id: The conversation's id; the interaction's where it has none.
        created_at: Seconds since the epoch, UTC; of an imported row its line number.
        task: chat, response, suggestion or summary.
        turn_position: Turns before this one, if known.
        version: What answered: an adapter version or the base's name.
        source: What the feedback says: the target is an edit; the output was highly rated; it was
            used as it was; it was rejected or badly rated. The last is no target: its `target`
            is the output.
        messages: The rendered chat, without the answer.
        shown: The model's answer.
        target: The agent's final text.
        response_format: OpenAI's `response_format`, if the request constrained the output.
        max_tokens: The request's own limit on the output, if it set one.
        agent: Who gave the feedback, as a short hash: the request's `user` with its API key,
            else the key that gave it.
        chat_template_kwargs: The chat template's variables that the request set; None: none.
        asked: What a task request's messages were rendered from (`forms.asked`); None: not known.
    """

    interaction_id: str
    conversation_id: str
    created_at: float
    task: str
    turn_position: int | None
    version: str | None
    source: Source
    messages: tuple[Message, ...]
    shown: str
    target: str
    response_format: dict[str, Any] | None = None
    max_tokens: int | None = None
    agent: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    asked: asked_for.Asked | None = None


@dataclass(frozen=True)
class Verdict:
    """What all feedback on one candidate says together."""

    rating: float | None = None
    edit: str | None = None
    used: bool = False
    rejected: bool = False
    key_id: str = ""


def verdict(feedback: Iterable[FeedbackRecord]) -> Verdict:
    """Merge feedback, the latest word on each question winning.

    A rating and an edit may come in separate posts, so a later post only replaces what it says;
    and a later "used" takes back an earlier "rejected", as a later "rejected" does a "used".

    Args:
        feedback: All feedback on one candidate of an interaction, in any order.
    """
    merged = Verdict()
    for record in sorted(feedback, key=lambda f: (f.created_at, f.id or 0)):
        used = merged.used if record.used is None else record.used
        rejected = merged.rejected if record.rejected is None else record.rejected
        if record.used and not record.rejected:
            rejected = False
        if record.rejected and not record.used:
            used = False
        merged = Verdict(
            rating=merged.rating if record.rating is None else record.rating,
            edit=merged.edit if record.edit is None else record.edit,
            used=used,
            rejected=rejected,
            key_id=record.key_id or merged.key_id,
        )
    return merged


def judged(item: LabelledInteraction) -> list[tuple[InteractionRecord, Verdict]]:
    """Return each candidate that feedback names as an interaction of its own, with its verdict.

    The first keeps the interaction's id; candidate k has `id#k`, in the same conversation.
    """
    by_index: dict[int, list[FeedbackRecord]] = {} if item.feedback else {0: []}
    for record in item.feedback:
        by_index.setdefault(record.index, []).append(record)
    return [
        (one, verdict(by_index[index]))
        for index in sorted(by_index)
        if (one := candidate(item.interaction, index)) is not None
    ]


def candidate(interaction: InteractionRecord, index: int) -> InteractionRecord | None:
    """Return an interaction as if this candidate had been its only one; None: it has no such."""
    if index == 0:
        return interaction
    found = candidates.of(interaction.response).get(index)
    if found is None:
        return None
    return interaction.model_copy(
        update={
            "id": f"{interaction.id}#{index}",
            "conversation_id": conversation(interaction),
            "output": found.output,
            "finish_reason": found.finish_reason,
        }
    )


def label(said: Verdict, rules: CurationConfig) -> Source | None:
    """Read a verdict as one label; None if it says too little to tell good from bad."""
    if said.edit is not None:
        return "edit"
    if said.rejected:
        return "rejection"
    if said.rating is not None and said.rating >= rules.rating_at_least:
        return "rating"
    if said.rating is not None and said.rating <= rules.rating_at_most:
        return "rejection"
    return "used" if said.used else None


def contradicts_itself(said: Verdict, rules: CurationConfig) -> bool:
    """Say whether one output is called good and bad at once; an edit speaks for itself."""
    good = said.used or (said.rating is not None and said.rating >= rules.rating_at_least)
    bad = said.rejected or (said.rating is not None and said.rating <= rules.rating_at_most)
    return said.edit is None and good and bad


def may_teach(interaction: InteractionRecord, said: Verdict) -> bool:
    """Whether its text is ours to learn from: of an upstream's, what an agent wrote or sent is.

    An upstream may answer for a version, too; the step that answered says so.
    """
    elsewhere = any(s.get("via") and s.get("outcome") == "answered" for s in interaction.steps)
    return not elsewhere or said.edit is not None or said.used


def suspected(interaction: InteractionRecord) -> bool:
    """Whether a guard took its request for an injection; such a text must not teach."""
    return any(found.get("kind") == "injection" for found in interaction.guards)


def finished_or_edited(interaction: InteractionRecord, said: Verdict) -> bool:
    """A cut-off output is no target, nor is what ends a draft; an agent's edit of one is."""
    whole = interaction.status is Status.COMPLETED and interaction.finish_reason != "length"
    completes = bool(interaction.request.get("continue_final_message"))
    return (whole and not completes) or said.edit is not None


def plain_messages(interaction: InteractionRecord) -> tuple[Message, ...] | None:
    """Return the chat, or None if it holds more than text (tools, images, nothing at all)."""
    messages = []
    for message in interaction.messages:
        role, content = message.get("role"), message.get("content")
        if isinstance(content, list):
            texts = [part.get("text") if isinstance(part, dict) else None for part in content]
            parts = [text for text in texts if isinstance(text, str)]
            content = "\n".join(parts) if len(parts) == len(content) else None
        if not isinstance(role, str) or not isinstance(content, str) or message.get("tool_calls"):
            return None
        messages.append(Message(role, content))
    return tuple(messages) or None


def example(interaction: InteractionRecord, said: Verdict, source: Source) -> Example:
    """Return the example that an interaction and its feedback make."""
    request = interaction.request
    response_format = request.get("response_format")
    max_tokens = request.get("max_completion_tokens") or request.get("max_tokens")
    # With the key that asked: a key names its own agents only, never another's.
    user = request.get("user")
    agent = f"{interaction.key_id or ''}/{user}" if user else said.key_id
    return Example(
        interaction_id=interaction.id,
        conversation_id=conversation(interaction),
        created_at=interaction.created_at,
        task=str(interaction.task),
        turn_position=interaction.turn_position,
        version=interaction.version,
        source=source,
        messages=plain_messages(interaction) or (),
        shown=interaction.output,
        target=interaction.output if said.edit is None else said.edit,
        response_format=response_format if isinstance(response_format, dict) else None,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        agent=hashlib.sha256(agent.encode()).hexdigest()[:_AGENT_DIGITS] if agent else None,
        chat_template_kwargs=chat_template.asked_for(request) or None,
        asked=asked_for.of(interaction),
    )


def conversation(interaction: InteractionRecord) -> str:
    """Return the conversation's id; an interaction without one is its own."""
    return interaction.conversation_id or interaction.id


def redacted(examples: Sequence[Example]) -> tuple[list[Example], dict[str, int]]:
    """Redact each example's texts together.

    Returns:
        The examples, and how many values of each kind were replaced.
    """
    counts: dict[str, int] = {}
    out = []
    for one in examples:
        count, said = len(one.messages), [m.content for m in one.messages]
        result = redact([*said, one.shown, one.target, *asked_for.texts(one.asked)])
        for kind, number in result.counts.items():
            counts[kind] = counts.get(kind, 0) + number
        contents, (shown, target, *others) = result.texts[:count], result.texts[count:]
        messages = tuple(
            Message(m.role, content) for m, content in zip(one.messages, contents, strict=True)
        )
        asked = asked_for.with_texts(one.asked, others)
        out.append(replace(one, messages=messages, shown=shown, target=target, asked=asked))
    return out, dict(sorted(counts.items()))
