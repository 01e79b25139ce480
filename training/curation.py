"""Feedback in, examples out: which interactions teach, and which only judge.

Pure functions from labelled interactions to examples. The agent's edit is the target; an output
that was rated highly and not edited is its own target; the rest teaches nothing here and is
counted under the filter that dropped it. The newest conversations are held out whole, so that the
evaluation asks about the future and no conversation lies on both sides.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from serving.store.records import FeedbackRecord, InteractionRecord, LabelledInteraction, Status
from training.errors import TooLittleData
from training.redaction import redact
from training.settings import Curation


@dataclass(frozen=True)
class Message:
    """One chat message of plain text."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """What the model saw, what it answered, and what the agent made of it.

    Args:
        interaction_id: The response's id.
        conversation_id: The conversation's id; the interaction's where it has none.
        created_at: Seconds since the epoch, UTC.
        task: chat, response, suggestion or summary.
        turn_position: Turns before this one, if known.
        version: What answered: an adapter version or the base's name.
        source: Where the target comes from.
        messages: The rendered chat, without the answer.
        shown: The model's answer.
        target: The agent's final text.
        response_format: OpenAI's `response_format`, if the request constrained the output.
        max_tokens: The request's own limit on the output, if it set one.
    """

    interaction_id: str
    conversation_id: str
    created_at: float
    task: str
    turn_position: int | None
    version: str | None
    source: Literal["edit", "rating"]
    messages: tuple[Message, ...]
    shown: str
    target: str
    response_format: dict[str, Any] | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class FilterCount:
    """How many examples one filter kept and dropped."""

    name: str
    kept: int
    dropped: int


@dataclass(frozen=True)
class Curated:
    """Examples on both sides of the hold-out, oldest first, and how they were chosen."""

    train: tuple[Example, ...]
    holdout: tuple[Example, ...]
    filters: tuple[FilterCount, ...]
    redactions: dict[str, int]


@dataclass(frozen=True)
class Verdict:
    """What all feedback on one interaction says together."""

    rating: float | None = None
    edit: str | None = None
    rejected: bool = False


def verdict(feedback: Iterable[FeedbackRecord]) -> Verdict:
    """Merge feedback, the latest word on each question winning.

    A rating and an edit may come in separate posts, so a later post only replaces what it says;
    and a later "used" takes back an earlier "rejected".

    Args:
        feedback: All feedback on one interaction, in any order.
    """
    merged = Verdict()
    for record in sorted(feedback, key=lambda f: (f.created_at, f.id or 0)):
        rejected = merged.rejected if record.rejected is None else record.rejected
        if record.used and not record.rejected:
            rejected = False
        merged = Verdict(
            rating=merged.rating if record.rating is None else record.rating,
            edit=merged.edit if record.edit is None else record.edit,
            rejected=rejected,
        )
    return merged


def curate(lob: str, labelled: Sequence[LabelledInteraction], rules: Curation) -> Curated:
    """Choose examples and hold the newest conversations out.

    Args:
        lob: The line of business, for the message when data is too little.
        labelled: Interactions with their feedback.
        rules: The recipe's section.

    Raises:
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    filters: list[FilterCount] = []
    candidates = [(item.interaction, verdict(item.feedback)) for item in labelled]
    for name, keep in (
        ("task", lambda i, _: i.task in rules.tasks),
        ("finished or edited", _finished_or_edited),
        ("plain text", lambda i, _: _messages(i) is not None),
        ("not rejected", lambda _, v: v.edit is not None or not v.rejected),
        (
            f"edited or rated {rules.rating_at_least:g} or higher",
            lambda _, v: v.edit is not None or (v.rating or 0) >= rules.rating_at_least,
        ),
        ("not empty", lambda i, v: bool((i.output if v.edit is None else v.edit).strip())),
    ):
        kept = [(i, v) for i, v in candidates if keep(i, v)]
        filters.append(FilterCount(name, len(kept), len(candidates) - len(kept)))
        candidates = kept

    examples = [_example(i, v) for i, v in candidates]
    examples.sort(key=lambda e: (e.created_at, e.interaction_id))
    redactions: dict[str, int] = {}
    if rules.redact:
        examples = [_redacted(example, redactions) for example in examples]
    distinct = list({(e.messages, e.target): e for e in reversed(examples)}.values())[::-1]
    filters.append(FilterCount("distinct", len(distinct), len(examples) - len(distinct)))

    _enough(lob, distinct, rules)
    train, holdout = split(distinct, rules.holdout_share, rules.min_holdout)
    return Curated(train, holdout, tuple(filters), dict(sorted(redactions.items())))


def split(
    examples: Sequence[Example], holdout_share: float, min_holdout: int = 1
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Hold out the newest conversations, whole.

    A conversation is as old as its first example. Ties are broken by its id, so the split depends
    on nothing but the examples.

    Args:
        examples: At least two conversations.
        holdout_share: Share of the conversations to hold out.
        min_holdout: Conversations to hold out at least; one always stays to train on.

    Returns:
        Training examples and held-out examples, each in the order given.
    """
    begin: dict[str, float] = {}
    for example in examples:
        begin[example.conversation_id] = min(
            example.created_at, begin.get(example.conversation_id, math.inf)
        )
    ordered = sorted(begin, key=lambda c: (begin[c], c))
    count = min(max(min_holdout, round(len(ordered) * holdout_share)), len(ordered) - 1)
    held = set(ordered[len(ordered) - count :])
    return (
        tuple(e for e in examples if e.conversation_id not in held),
        tuple(e for e in examples if e.conversation_id in held),
    )


def _enough(lob: str, examples: Sequence[Example], rules: Curation) -> None:
    conversations = len({e.conversation_id for e in examples})
    missing = [
        f"{need - have} {noun if need - have > 1 else noun.removesuffix('s')}"
        for have, need, noun in (
            (len(examples), rules.min_examples, "examples"),
            (conversations, rules.min_conversations, "conversations"),
        )
        if have < need
    ]
    if missing:
        single = len(missing) == 1 and missing[0].startswith("1 ")
        raise TooLittleData(
            f"{lob}: {len(examples)} usable examples from {conversations} conversations; "
            f"{rules.min_examples} from {rules.min_conversations} are needed: "
            f"{' and '.join(missing)} {'is' if single else 'are'} missing. An example is an "
            f"edited output, or one rated {rules.rating_at_least:g} or higher."
        )


def _finished_or_edited(interaction: InteractionRecord, verdict: Verdict) -> bool:
    """A cut-off output is no target, but an agent's edit of one is."""
    whole = interaction.status is Status.COMPLETED and interaction.finish_reason != "length"
    return whole or verdict.edit is not None


def _messages(interaction: InteractionRecord) -> tuple[Message, ...] | None:
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


def _example(interaction: InteractionRecord, verdict: Verdict) -> Example:
    request = interaction.request
    response_format = request.get("response_format")
    max_tokens = request.get("max_completion_tokens") or request.get("max_tokens")
    return Example(
        interaction_id=interaction.id,
        conversation_id=interaction.conversation_id or interaction.id,
        created_at=interaction.created_at,
        task=str(interaction.task),
        turn_position=interaction.turn_position,
        version=interaction.version,
        source="rating" if verdict.edit is None else "edit",
        messages=_messages(interaction) or (),
        shown=interaction.output,
        target=interaction.output if verdict.edit is None else verdict.edit,
        response_format=response_format if isinstance(response_format, dict) else None,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
    )


def _redacted(example: Example, counts: dict[str, int]) -> Example:
    """Redact all of an example's texts together, adding to `counts`."""
    result = redact([*(m.content for m in example.messages), example.shown, example.target])
    for kind, number in result.counts.items():
        counts[kind] = counts.get(kind, 0) + number
    *contents, shown, target = result.texts
    messages = tuple(
        Message(m.role, content) for m, content in zip(example.messages, contents, strict=True)
    )
    return replace(example, messages=messages, shown=shown, target=target)
