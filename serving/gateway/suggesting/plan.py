"""What a suggestion needs beside its text: candidates to choose from, and how sure they are.

Only requests with a draft, for several candidates, or of a line that may abstain have a plan; any
other suggestion goes the way of a chat completion, chunk by chunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.config.lobs import Lob
from serving.gateway import tasks
from serving.gateway.request import InferenceRequest
from serving.gateway.suggesting.completion import SPACED


@dataclass(frozen=True, slots=True)
class Plan:
    """How a suggestion's candidates are made and chosen.

    Args:
        wanted: Candidates that are asked for.
        sampled: Candidates that the engine makes.
        similar: What `distinct.by_words` takes.
        abstain_below: No candidate of a smaller confidence is given; None gives any.
        draft: What the answer goes on from, without white space at its end; empty: nothing.
        gap: The white space after it.
    """

    wanted: int = 1
    sampled: int = 1
    similar: float = 1.0
    abstain_below: float | None = None
    draft: str = ""
    gap: str = ""

    def extra(self) -> dict[str, Any]:
        """Return the fields that our engine gets beside the request's own."""
        fields: dict[str, Any] = {"n": self.sampled} if self.sampled > self.wanted else {}
        if self.draft and self.gap:
            fields["structured_outputs"] = {"regex": SPACED}
        return fields


def of(asked: InferenceRequest, lobs: Mapping[str, Lob], places: int) -> Plan | None:
    """Return a suggestion's plan; None where it needs none.

    Args:
        asked: The request, whose types are checked.
        lobs: The lines of business.
        places: Sequences that a replica answers at once; more are not made.
    """
    task = asked.of_task
    if task is None or asked.task != "suggestion":
        return None
    lob = lobs[task.lob]
    its = lob.suggestions
    wanted = {**tasks.defaults("suggestion", lob), **task.sampling}.get("n") or 1
    if wanted == 1 and not task.draft and its.abstain_below is None:
        return None
    made = wanted if wanted == 1 else min(wanted * its.oversample, its.max_sampled, places)
    return Plan(
        wanted=wanted,
        sampled=max(wanted, made),
        similar=its.similar,
        abstain_below=its.abstain_below,
        draft=task.draft,
        gap=task.gap,
    )
