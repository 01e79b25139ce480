"""What rules say of one answer: the gate's metrics, where no agent's text need be known.

Which answers are read: complete ones, of models, asked for by the line's name, with the candidate
that an agent took. The grade is 0 where a rule finds a fault, else how much of the answer was kept,
where that is known, else 1. It is crude, and need be no better: people's grades correct it
(`training.stats.powered_mean`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.store.records import (
    ABSTAINED,
    FeedbackRecord,
    InteractionRecord,
    LabelledInteraction,
    Status,
    Task,
)
from training.data import examples
from training.metrics import text
from training.metrics.facts import unsupported_facts

FAULTS = ("unsupported_facts", "refusals", "format_errors")


@dataclass(frozen=True)
class Answer:
    """An answer and what rules say of it.

    Args:
        id: The response's id.
        conversation: Its conversation's id; its own where it has none.
        at: When it was made, seconds since the epoch.
        version: What answered.
        characters: Its length; None of a silent one.
        found: Metric name to its value in [0, 1]; only what is known.
        grade: The rules' grade in [0, 1]; None of a silent answer, which nobody can grade.
    """

    id: str
    conversation: str
    at: float
    version: str
    characters: int | None
    found: Mapping[str, float]
    grade: float | None


def counts(interaction: InteractionRecord) -> bool:
    """Whether an interaction is production: complete, not pinned, and a text for somebody."""
    return (
        interaction.status is Status.COMPLETED
        and interaction.model_requested == interaction.lob
        and interaction.task is not Task.INSIGHT
    )


def read(item: LabelledInteraction, window_s: float) -> Answer | None:
    """Return what rules say of an answer; None of what does not count.

    Args:
        item: The interaction with its feedback.
        window_s: Feedback counts that came so long after the answer.
    """
    interaction = item.interaction
    if not counts(interaction):
        return None
    until = interaction.created_at + window_s
    taken, said = _taken(interaction, [one for one in item.feedback if one.created_at < until])
    silent = taken.finish_reason == ABSTAINED or not taken.output.strip()
    found = {"silent": float(silent)}
    if not silent:
        found |= _faults(taken)
        kept = _kept(taken.output, said) if interaction.shown_by_draw is not False else None
        if kept is not None:
            found["edit_similarity"] = kept
    return Answer(
        id=interaction.id,
        conversation=examples.conversation(interaction),
        at=interaction.created_at,
        version=interaction.version or interaction.base_model,
        characters=None if silent else len(" ".join(taken.output.split())),
        found=found,
        grade=None if silent else grade(found),
    )


def grade(found: Mapping[str, float]) -> float:
    """Return the rules' grade of an answer that says something: 0 bad, 1 good."""
    if any(found.get(name, 0.0) > 0 for name in FAULTS):
        return 0.0
    return found.get("edit_similarity", 1.0)


def _faults(one: InteractionRecord) -> dict[str, float]:
    messages = examples.plain_messages(one)
    wanted = one.request.get("response_format")
    form = wanted if isinstance(wanted, dict) else None
    found = {
        "refusals": float(text.refuses(one.output)),
        "format_errors": float(text.is_format_error(one.output, form)),
    }
    if messages is not None:
        seen = [message.content for message in messages]
        found["unsupported_facts"] = float(bool(unsupported_facts(one.output, seen)))
    return found


def _taken(
    interaction: InteractionRecord, feedback: list[FeedbackRecord]
) -> tuple[InteractionRecord, examples.Verdict]:
    """Return the candidate that was last used or edited, else the first, with its verdict."""
    taken = [one for one in feedback if one.used or one.edit is not None]
    taken.sort(key=lambda one: (one.created_at, one.id or 0))
    index = taken[-1].index if taken else 0
    chosen = examples.candidate(interaction, index)
    if chosen is None:
        index, chosen = 0, interaction
    return chosen, examples.verdict(one for one in feedback if one.index == index)


def _kept(output: str, said: examples.Verdict) -> float | None:
    """Return how much of an output was kept; None: nobody said."""
    if said.edit is not None:
        return text.edit_similarity(output, said.edit)
    if said.rejected:
        return 0.0
    return 1.0 if said.used else None
