"""The candidates of one response: what `choices` holds where a request asked for `n` of them.

A record's `output` is candidate 0. Feedback names the candidate that it judges by `index`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.store.records import ABSTAINED, InteractionRecord, Served


class Candidate(NamedTuple):
    """One candidate's text, and why it ended."""

    output: str
    finish_reason: str | None


def of(response: Mapping[str, Any]) -> dict[int, Candidate]:
    """Return a stored response's candidates by their index; none where it has no `choices`."""
    found: dict[int, Candidate] = {}
    choices = response.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        index = choice.get("index", 0) if isinstance(choice, dict) else None
        if type(index) is int:
            message = choice.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            ended = choice.get("finish_reason")
            output = plain(choice.get("text", content))
            found.setdefault(index, Candidate(output, ended if isinstance(ended, str) else None))
    return found


def plain(content: object) -> str:
    """Return the text of a message's content, which may come in parts; "" where it has none."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def has(interaction: InteractionRecord, index: int) -> bool:
    """Whether an interaction has this candidate; 0, its output, unless it abstained."""
    if interaction.finish_reason == ABSTAINED:
        return False
    return index == 0 or index in of(interaction.response)


def as_taken(served: Served, until: float = float("inf")) -> Served:
    """Return an answer as the candidate that was last used or edited, else as the first.

    Args:
        served: The answer with the feedback on all its candidates.
        until: Later feedback is left out.
    """
    given = [f for f in served.feedback if f.created_at < until]
    given.sort(key=lambda f: (f.created_at, f.id or 0))
    known = {0: served.output} | served.others
    taken = [f.index for f in given if (f.used or f.edit is not None) and f.index in known]
    index = taken[-1] if taken else 0
    mine = tuple(f for f in given if f.index == index)
    return served.model_copy(update={"output": known[index], "feedback": mine})
