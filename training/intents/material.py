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
from serving.store.records import InteractionRecord, Status, Task
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
        engine: What the engine had said, "" for nothing; it is compared only where `by_engine`.
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
    corrected = {one.id: value async for one, value in _right(db, lob, since)}
    told: dict[str, str] = {}
    async for one in newest(db, lob=lob, tasks=[Task.INSIGHT], since=since):
        if len(told) >= most:
            break
        free = corrected.get(one.id, free_intent(one))
        if isinstance(free, str) and free.strip() and not _has_list(one):
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
    async for one, value in _right(db, lob):
        turns = tuple(customers(one))
        if _has_list(one) and turns and not suspected(one):
            said = _member(one.output)
            found[conversation(one)] = Labelled(
                conversation(one),
                turns,
                _text(value),
                "" if said is _MISSING else _text(said),
                by_engine="classified" not in one.request,
            )
    return list(found.values())


def free_intent(one: InteractionRecord) -> str | None:
    """Return the intent that an insight told in the model's own words; None: it told none."""
    return _text(_member(one.output)) if one.status is Status.COMPLETED else None


def _has_list(one: InteractionRecord) -> bool:
    form = one.request.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") or {}
    return "enum" in ((schema.get("properties") or {}).get("intent") or {})


async def _right(
    db: Database, lob: str, since: float | None = None
) -> AsyncIterator[tuple[InteractionRecord, Any]]:
    """Yield insights with the intent that a person says is right, by an edit or by using it."""
    async for item in interactions.stream(db, lob=lob, since=since, tasks=[Task.INSIGHT]):
        for one, said in judged(item):
            good = said.used or (said.rating is not None and said.rating >= RATED_RIGHT)
            if said.edit is None and (said.rejected or not good):
                continue
            value = _member(one.output if said.edit is None else said.edit)
            if one.id == item.interaction.id and value is not _MISSING:
                yield one, value


def _text(value: Any) -> str | None:
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
