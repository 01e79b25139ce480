"""What the store has of a line's intents: free ones, customers' first turns, and corrections."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from serving.intents.classifier import Intent
from serving.redaction.recognition import mark
from serving.store import interactions
from serving.store.database import Database
from serving.store.intents.recent import newest
from serving.store.records import InteractionRecord, LabelledInteraction, Status, Task
from training.data.examples import conversation, judged, suspected
from training.intents.turns import customers

CHARACTERS = 500
"""Of a customer's first turn that are read."""
RATED_RIGHT = 0.8
Kind = Literal["insights", "turns"]
_MISSING = object()


@dataclass(frozen=True)
class Said:
    """Why a customer came, in words; personal values are what they are (`[ORDER]`)."""

    conversation: str
    text: str


@dataclass(frozen=True)
class Material:
    """What proposals are made from.

    Args:
        kind: Free intents of insights, or customers' first turns.
        said: One a conversation, the newest first.
        unread: Conversations whose prompt does not tell who said what.
    """

    kind: Kind
    said: tuple[Said, ...]
    unread: int = 0


@dataclass(frozen=True)
class Labelled:
    """A conversation with its intent, as a person confirmed or corrected it.

    Args:
        conversation: Its id.
        turns: What the customer said.
        intent: The right one.
        engine: What the engine had said; it is compared only where `by_engine`.
        by_engine: Whether the engine chose it, from the whole list.
    """

    conversation: str
    turns: tuple[str, ...]
    intent: Intent
    engine: Intent
    by_engine: bool

    @property
    def confirmed(self) -> bool:
        """Whether a person said that the engine was right."""
        return self.by_engine and self.engine == self.intent


async def proposed_from(
    db: Database, lob: str, *, most: int, since: float | None = None
) -> Material:
    """Return a line's free intents, or its customers' first turns where it has none of those.

    Args:
        db: The store.
        lob: The line of business.
        most: Conversations at most, the newest.
        since: The earliest `created_at`, itself included.
    """
    corrected = {
        item.interaction.id: intent
        async for item, intent in _corrected(db, lob, since)
        if intent is not None
    }
    told: dict[str, str] = {}
    async for one in newest(db, lob=lob, tasks=[Task.INSIGHT], since=since):
        if len(told) >= most:
            break
        free = corrected.get(one.id) or free_intent(one)
        if free and not _has_list(one):
            told.setdefault(conversation(one), free)
    if told:
        return Material("insights", _redacted(told))
    unread = set()
    tasks = (Task.INSIGHT, Task.SUGGESTION, Task.SUMMARY, Task.CHAT)
    async for one in newest(db, lob=lob, tasks=tasks, since=since):
        if len(told) >= most:
            break
        turns = customers(one)
        if turns:
            told.setdefault(conversation(one), turns[0][:CHARACTERS])
        else:
            unread.add(conversation(one))
    return Material("turns", _redacted(told), len(unread - told.keys()))


async def labelled(db: Database, lob: str) -> list[Labelled]:
    """Return a line's conversations whose intent a person confirmed or corrected, oldest first.

    Of each the last word counts. Left out is what a guard took for an injection, and what was only
    rejected: nobody said what would be right.
    """
    found: dict[str, Labelled] = {}
    async for item, intent in _with_intent(db, lob):
        one = item.interaction
        turns = tuple(customers(one))
        if turns and not suspected(one):
            made = Labelled(
                conversation(one),
                turns,
                intent,
                _intent(one.output),
                "classified" not in one.request,
            )
            found[made.conversation] = made
    return list(found.values())


def free_intent(one: InteractionRecord) -> str | None:
    """Return the intent that an insight told in the model's own words; None: it told none."""
    if one.status is not Status.COMPLETED or _has_list(one):
        return None
    said = _member(one.output)
    return said if isinstance(said, str) and said.strip() else None


def _has_list(one: InteractionRecord) -> bool:
    form = one.request.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") or {}
    return "enum" in ((schema.get("properties") or {}).get("intent") or {})


async def _corrected(
    db: Database, lob: str, since: float | None
) -> AsyncIterator[tuple[LabelledInteraction, str | None]]:
    async for item in interactions.stream(db, lob=lob, since=since, tasks=[Task.INSIGHT]):
        for one, said in judged(item):
            if one.id == item.interaction.id and said.edit is not None:
                value = _member(said.edit)
                yield item, value if isinstance(value, str) and value.strip() else None


async def _with_intent(
    db: Database, lob: str
) -> AsyncIterator[tuple[LabelledInteraction, Intent]]:
    """Yield insights of a list, each with the intent that a person says is right."""
    async for item in interactions.stream(db, lob=lob, tasks=[Task.INSIGHT]):
        for one, said in judged(item):
            if one.id != item.interaction.id or not _has_list(one):
                continue
            right = said.used or (said.rating is not None and said.rating >= RATED_RIGHT)
            if said.edit is not None and _MISSING is not (value := _member(said.edit)):
                yield item, value if isinstance(value, str) else None
            elif right and not said.rejected and _MISSING is not (value := _member(one.output)):
                yield item, value if isinstance(value, str) else None



def _intent(text: str) -> Intent:
    value = _member(text)
    return value if isinstance(value, str) else None


def _member(text: str) -> Any:
    """Return the intent of an insight's JSON; `_MISSING` where it has none."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _MISSING
    return value.get("intent", _MISSING) if isinstance(value, dict) else _MISSING


def _redacted(told: dict[str, str]) -> tuple[Said, ...]:
    return tuple(Said(id_, mark([text]).texts[0]) for id_, text in told.items())
