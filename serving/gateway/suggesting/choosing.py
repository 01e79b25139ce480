"""From what the engine made to what the agent is given: candidates in their order, or silence.

Confidence is the geometric mean of a candidate's token probabilities (`guarding/confidence.py`).
Pure functions of an answer in one piece, and the same answer gives the same order: what is equally
sure stays in the order in which it was drawn.
"""

from collections.abc import Mapping
from typing import Any

from serving.gateway.suggesting import completion
from serving.gateway.suggesting.distinct import Alike, distinct
from serving.gateway.suggesting.plan import Plan
from serving.store import candidates

UNSURE = "low_confidence"
NOTHING = "nothing_to_add"


def chosen(
    answer: Mapping[str, Any], sure: Mapping[int, float], plan: Plan, alike: Alike
) -> dict[str, Any]:
    """Return an answer with its best distinct candidates, or without any, which says why.

    Args:
        answer: A chat completion in one piece.
        sure: The confidence of each choice by its index, where it is known.
        plan: What is asked.
        alike: Whether two texts say the same.

    Returns:
        The answer, `abstained` before its choices. Each choice has a new `index`, `rank` (0 is the
        best), `confidence` and, after a draft, `completion`; the text begins with the draft. What
        is known to be below the plan's bound is left out; of what is not known nothing is.
    """
    given = [_candidate(one, plan, sure) for one in answer.get("choices") or ()]
    fit = [one for one in given if one is not None]
    fit.sort(key=lambda one: -1.0 if one["confidence"] is None else one["confidence"], reverse=True)
    below = plan.abstain_below
    known = [one["confidence"] for one in fit if one["confidence"] is not None]
    if below is not None:
        fit = [one for one in fit if one["confidence"] is None or one["confidence"] >= below]
    kept = [fit[place] for place in distinct([_text(one) for one in fit], plan.wanted, alike)]
    head = {key: value for key, value in answer.items() if key != "choices"}
    if kept:
        ranked = [{**one, "index": rank, "rank": rank} for rank, one in enumerate(kept)]
        return {**head, "abstained": False, "choices": ranked}
    why: dict[str, Any] = {"reason": NOTHING}
    if known and below is not None:
        why = {"reason": UNSURE, "confidence": max(known), "below": below}
    return {**head, "abstained": True, "abstention": why, "choices": []}


def _text(choice: Mapping[str, Any]) -> str:
    return candidates.plain(choice.get("completion", choice["message"].get("content")))


def _candidate(
    choice: Mapping[str, Any], plan: Plan, sure: Mapping[int, float]
) -> dict[str, Any] | None:
    """A choice with what is told of it; None where it does not fit the draft."""
    confidence = sure.get(choice.get("index", 0))
    told: dict[str, Any] = {"confidence": None if confidence is None else round(confidence, 4)}
    if not plan.draft:
        return {**choice, **told}
    message = choice.get("message") or {}
    written = candidates.plain(message.get("content"))
    rest = completion.whole(written, cut=choice.get("finish_reason") == "length")
    follows = completion.after(rest, plan.gap)
    if follows is None:
        return None
    text = {**message, "content": f"{plan.draft}{rest}"}
    return {**choice, "message": text, "completion": follows, **told}
