"""What a task request was rendered from, as its interaction stores it beside the messages.

An example keeps it as plain JSON: `prompt` (whose: a task's, or `handover`), `hash` (of the prompt
that made the messages), `turns` (`role`, `text`, and of knowledge `passage`), and where there were
any `previous` (a summary), `structured` and `draft`. Rows of before it was stored have none.
"""

from collections.abc import Sequence
from typing import Any, Final

from serving.store.records import InteractionRecord

Asked = dict[str, Any]

KEYS: Final = ("conversation", "previous", "structured", "for")
"""Of a stored request."""
_TURN = ("role", "text", "passage")


def of(interaction: InteractionRecord) -> Asked | None:
    """Return what an interaction's messages were rendered from; None where that is not known."""
    request, turns = interaction.request, interaction.request.get("conversation")
    if interaction.prompt_hash is None or not isinstance(turns, list) or not turns:
        return None
    asked: Asked = {
        "prompt": prompt_of(interaction),
        "hash": interaction.prompt_hash,
        "turns": [{key: turn[key] for key in _TURN if turn.get(key)} for turn in turns],
    }
    previous = request.get("previous")
    if isinstance(previous, dict) and isinstance(previous.get("summary"), str):
        asked["previous"] = previous["summary"]
    if request.get("structured"):
        asked["structured"] = request["structured"]
    if request.get("continue_final_message") and interaction.messages:
        asked["draft"] = interaction.messages[-1].get("content", "")
    return asked


def prompt_of(interaction: InteractionRecord) -> str:
    """Return whose prompt made a task request's messages."""
    return str(interaction.request.get("for") or interaction.task)


def texts(asked: Asked | None) -> list[str]:
    """Return the texts in it, in a fixed order: what redaction must see."""
    if asked is None:
        return []
    own = [asked[key] for key in ("previous", "draft") if key in asked]
    return [turn.get("text", "") for turn in asked["turns"]] + own


def with_texts(asked: Asked | None, given: Sequence[str]) -> Asked | None:
    """Return it with other texts in the places of `texts`."""
    if asked is None:
        return None
    count = len(asked["turns"])
    turns = [{**turn, "text": text} for turn, text in zip(asked["turns"], given, strict=False)]
    keys = (key for key in ("previous", "draft") if key in asked)
    return {**asked, "turns": turns, **dict(zip(keys, given[count:], strict=True))}
