"""From a line's settings and a conversation to chat messages, by a prompt.

The gateway renders what it is asked, and the gate what a version would have been asked, so both do
it here: two ways to the same messages would one day differ.
"""

from collections.abc import Collection, Sequence
from typing import Literal

from serving.config.lobs import Lob
from serving.config.prompts import Prompt, Task, Turn
from serving.config.structured import fields as typed
from serving.config.structured.insights import Want

Structured = bool | Literal["both"]


def fields(lob: Lob, structured: Structured, want: Collection[Want] = ()) -> dict[str, str]:
    """Return what a prompt is told of the answer's fields, name to meaning; none of free text.

    Args:
        lob: The line's settings.
        structured: Whether a summary has the line's fields; `both`: beside the free text.
        want: Parts of an insight.
    """
    if structured:
        return typed.meanings(lob.summary_fields, text=structured == "both")
    return lob.insights.meanings(want) if want else {}


def render(
    prompt: Prompt,
    name: str,
    lob: Lob,
    task: Task,
    turns: Sequence[Turn],
    *,
    fields: dict[str, str],
    previous: str = "",
) -> list[dict[str, str]]:
    """Return the chat messages of a task request.

    Args:
        prompt: The prompt.
        name: The line's name.
        lob: The line's settings.
        task: The task of the endpoint; a hand-over's is `summary`.
        turns: What is told of the conversation, knowledge included.
        fields: What `fields` gives.
        previous: The summary of what came before the turns; empty without one.
    """
    return prompt.render(
        lob=name,
        task=task,
        turns=turns,
        fields=fields,
        description=lob.description,
        guidelines=lob.guidelines,
        previous=previous,
    )
