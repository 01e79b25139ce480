"""Passages found for a suggestion join its conversation; responses found are offered beside it.

Passages come last, as the look-up of an agent would, so the prefix of the prompt stays in the
engine's cache from turn to turn. They are the line's own texts, which an operator imported: guards
of requests do not read them, and guards of answers count them as evidence.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from serving.config.lobs import Lob
from serving.config.prompts import Turn
from serving.gateway.exchange import Exchange
from serving.gateway.grounding import slots
from serving.gateway.tasks import TaskRequest
from serving.knowledge.libraries import Found, Libraries, Outcome
from serving.observability.tracing import stage
from serving.store.libraries.versions import Entry, Kind

QUESTION_TURNS = 2
"""The last turns of the customer that are the question."""
DIALOG_TURNS = 4
"""The last turns of both by which a response is found."""
QUESTION_LIMIT = 4000
"""Characters, from the end: a longer one takes time and tells no more."""


async def ground(exchange: Exchange, lobs: Mapping[str, Lob], libraries: Libraries) -> None:
    """Find what a line knows for a suggestion, and put it into the exchange; never fails.

    Args:
        exchange: Its request; that of a suggestion gets the passages as turns of `knowledge`.
        lobs: The lines of business.
        libraries: What is searched.
    """
    asked = exchange.request
    task, lob = asked.of_task, lobs.get(exchange.lob or "")
    if task is None or asked.task != "suggestion" or lob is None:
        return
    if (lob.knowledge is None or task.knowledge is False) and lob.responses is None:
        return
    with stage(exchange.trace, "knowledge"):
        passages, responses = await asyncio.gather(
            _passages(task, lob, libraries), _responses(task, lob, libraries)
        )
    if passages is not None:
        exchange.beside |= told_of(passages)
        turns = [*task.turns, *(turn_of(entry) for entry, _ in passages.entries)]
        exchange.request = replace(asked, of_task=replace(task, turns=turns))
    if responses is not None:
        exchange.beside["snippets"] = snippets(responses, task)


def question(turns: Sequence[Turn]) -> str:
    """Return what a customer asks: the last turns of theirs; empty where there is none."""
    said = [turn.text for turn in turns if turn.role == "customer"]
    return "\n".join(said[-QUESTION_TURNS:])[-QUESTION_LIMIT:]


def dialog(turns: Sequence[Turn]) -> str:
    """Return the last turns of the people in a conversation."""
    said = [turn.text for turn in turns if turn.role != "knowledge"]
    return "\n".join(said[-DIALOG_TURNS:])[-QUESTION_LIMIT:]


def turn_of(entry: Entry) -> Turn:
    """Return a passage as a turn of a conversation."""
    text = f"{entry.title}: {entry.text}" if entry.title else entry.text
    return Turn("knowledge", text, passage=entry.id)


def told_of(found: Found) -> dict[str, Any]:
    """Return what an answer says of them: `grounding`, and each passage without its text."""
    passages = [
        {"id": entry.id, "title": entry.title, "score": score, "version": found.version}
        | ({} if entry.url is None else {"url": entry.url})
        for entry, score in found.entries
    ]
    return {"grounding": found.outcome.value, "passages": passages}


def snippets(found: Found, task: TaskRequest) -> list[dict[str, Any]]:
    """Return the responses to offer, their slots filled as far as values are known.

    Args:
        found: What was found.
        task: The request, whose slots go before what the conversation says.
    """
    values = slots.said_in(task.turns) | (task.slots or {})
    offered = []
    for entry, score in found.entries:
        text, missing = slots.filled(entry.text, values)
        one = {"id": entry.id, "title": entry.title, "text": text, "score": score}
        one |= {"version": found.version} | ({"missing": missing} if missing else {})
        offered.append(one)
    return offered


async def _passages(task: TaskRequest, lob: Lob, libraries: Libraries) -> Found | None:
    its, asked = lob.knowledge, question(task.turns)
    if its is None or task.knowledge is False:
        return None
    if not asked.strip():
        return Found(Outcome.NOTHING)
    return await libraries.search(task.lob, Kind.KNOWLEDGE, asked, its.passages)


async def _responses(task: TaskRequest, lob: Lob, libraries: Libraries) -> Found | None:
    its, asked = lob.responses, dialog(task.turns)
    if its is None:
        return None
    if not asked.strip():
        return Found(Outcome.NOTHING)
    return await libraries.search(
        task.lob, Kind.RESPONSES, asked, its.offer, agent=task.agent or ""
    )
