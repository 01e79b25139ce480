"""Labelled interactions as the store returns them."""

from typing import Any

from serving.config.prompts import Prompt, Turn
from serving.draws import in_canary
from serving.store.records import FeedbackRecord, InteractionRecord, LabelledInteraction
from training.data.splits import is_drawn
from training.recipe.curation import CurationConfig

GATE_OF_FIVE = {"non_inferiority": [{"metric": "unsupported_facts", "margin": 0.7}]}
"""A gate that five conversations can pass: the margin that so few without any event show."""


def feedback(interaction: str = "i", at: float = 1.0, **content: Any) -> FeedbackRecord:
    key = f"{interaction}-{at}-{sorted(content)}"
    return FeedbackRecord(interaction_id=interaction, client_key=key, created_at=at, **content)


def of_arm(version: str, canary: bool, number: int, share: float = 0.5) -> str:
    """Return a conversation's id that the hash gives to a canary, or to its control."""
    names = (f"{number}-{chance}" for chance in range(10_000))
    return next(name for name in names if in_canary(version, share, name) == canary)


def drawn(judges: bool, number: int, rules: CurationConfig | None = None, lob: str = "care") -> str:
    """Return a conversation's id that the hash draws to judge, or does not."""
    rules = rules or CurationConfig()
    names = (f"{number:03}-{chance}" for chance in range(10_000))
    return next(name for name in names if is_drawn(lob, name, 0.0, rules) == judges)


def labelled(
    name: str = "i", *said: dict[str, Any], prompt: str | None = None, **fields: Any
) -> LabelledInteraction:
    """Return an interaction with one feedback record for each of `said`, a second apart."""
    content: dict[str, Any] = {
        "id": name,
        "created_at": 1000.0,
        "lob": "care",
        "task": "summary",
        "endpoint": "/v1/summaries",
        "model_requested": "care",
        "version": "base",
        "base_model": "base",
        "request": {},
        "messages": [{"role": "user", "content": prompt or f"conversation {name}"}],
        "response": {},
        "output": f"shown {name}",
        "finish_reason": "stop",
        "latency_ms": 1.0,
        "conversation_id": f"c-{name}",
        "replica": "r",
        "stream": False,
        "status": "completed",
    }
    interaction = InteractionRecord(**{**content, **fields})
    return LabelledInteraction(
        interaction=interaction,
        feedback=tuple(feedback(name, 2000.0 + n, **one) for n, one in enumerate(said)),
    )


def suggested(
    name: str,
    *said: dict[str, Any],
    prompt: Prompt,
    text: str | None = None,
    turns: bool = True,
    **fields: Any,
) -> LabelledInteraction:
    """Return a suggestion as the server stores it: rendered by a prompt, its turns beside it.

    Args:
        name: Its id; also what the customer says, unless `text` does.
        said: Feedback.
        prompt: By which it was asked.
        text: What the customer says.
        turns: Whether they are stored, as they are not of before.
        fields: Of the interaction.
    """
    text = text or f"conversation {name}"
    told = [Turn("customer", text)]
    of = {"lob": "care", "task": "suggestion", "turns": told, "fields": {}}
    row = {
        "task": "suggestion",
        "endpoint": "/v1/suggestions",
        "prompt_name": prompt.name,
        "prompt_hash": prompt.hash,
        "messages": prompt.render(**of),  # type: ignore[arg-type]
        "request": {"conversation": [{"role": "customer", "text": text}]} if turns else {},
    }
    return labelled(name, *said, **{**row, **fields})
