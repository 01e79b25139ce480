"""The intent of an insight by the line's classifier: the engine then writes just this one.

The engine's constrained decoding is told a list of one intent, so that text, stream, guards and
what is stored are as ever. What is captured keeps the whole list, by which people correct it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serving.config.lobs import Lob
from serving.gateway.exchange import Exchange
from serving.gateway.tasks import TaskRequest
from serving.intents.live import Classifiers


async def guess(exchange: Exchange, lobs: Mapping[str, Lob], classifiers: Classifiers) -> None:
    """Have a line's classifier say an exchange's intent, where one is wanted and there is one.

    A request that names a version, or the base, wants that model's own answer.
    """
    asked = exchange.request
    task = asked.of_task
    if task is None or asked.task != "insight" or asked.model != task.lob:
        return
    if task.want is not None and "intent" not in task.want:
        return
    turns = [task.turns[place].text for place in task.customers]
    found = await classifiers.guess(task.lob, lobs[task.lob].insights, turns)
    if found is not None:
        exchange.request = replace(asked, of_task=replace(task, guess=found))


def asking(task: TaskRequest | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that our engine gets instead, so that it writes the intent guessed.

    Args:
        task: What was asked.
        body: The request's body, with the line's whole list.
    """
    if task is None or task.guess is None:
        return {}
    form = body["response_format"]
    its = form["json_schema"]
    schema = its["schema"]
    properties = {**schema["properties"], "intent": {"enum": [task.guess.intent]}}
    only = {**its, "schema": {**schema, "properties": properties}}
    return {"response_format": {**form, "json_schema": only}}
