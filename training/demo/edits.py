"""How agents edit what they are shown, by their line of business's rules.

Care's rule: a summary states the promised follow-up, what and by when. Sales' rule: it states the
promotion offered and whether the customer bought. A reply carries what the conversation needs at
that point. An agent who is shown a right text keeps it; otherwise the agent writes the line's own
wording. With `dialog.facts` the rules are exact; without them (ABCD, a user's own dialogs) they
extract from what was said, and the agent's real turn is the final reply.
"""

from __future__ import annotations

import re

from rapidfuzz.distance import Levenshtein

from training.demo.dialog_files import Dialog

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_STEP = re.compile(
    r"\b(I will|I'll|we will|we'll|will be|going to|within|should (?:be|get|receive)|I have|"
    r"has been|less than|by (?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"\b(promo\w*|discount\w*|offers?|deals?|coupon\w*|sale|percent|code)\b|%", re.I
)
_BOUGHT = re.compile(
    r"\b((?:I'?ll|I will) (?:take|buy)|I want to buy|purchase it|order it|place the order)\b",
    re.IGNORECASE,
)
_GREETING = re.compile(r"^(hi|hey|hello|good (?:morning|day|afternoon|evening))\b", re.IGNORECASE)
_MARK = re.compile(r"\d+|(?<=[^.!?:] )[A-Z][a-z]+")
_LONGEST = 140


def edit_summary(dialog: Dialog, shown: str) -> str:
    """Give the agent's final text of a conversation's summary.

    Args:
        dialog: the whole conversation.
        shown: the summary that the agent was shown; may be empty.

    Returns:
        `shown` when it already says what the line requires and nothing unsupported; the agents'
        own summary where the dialog holds one; otherwise the summary in the line's wording.
    """
    if dialog.final_summary is not None:
        return dialog.final_summary
    if not dialog.facts:
        return _extracted_summary(dialog)
    facts = dialog.facts
    if dialog.lob == "care":
        required = [facts["follow_up"], facts["due"]]
        final = (
            f"Case: {facts['product']} {facts['issue']}. "
            f"We owe {facts['name']} {facts['follow_up']} by {facts['due']}."
        )
    else:
        decision = "yes" if facts["bought"] == "yes" else f"no, {facts['reason']}"
        required = [facts["promotion"], facts["saving"], f"Bought: {decision}"]
        final = (
            f"Promotion offered: {facts['promotion']}, {facts['saving']} off the "
            f"{facts['product']}. Bought: {decision}."
        )
    transcript = " ".join(turn.text for turn in dialog.turns)
    return shown if _is_right(shown, required, transcript) else final


def edit_reply(dialog: Dialog, turn_index: int, shown: str) -> str:
    """Give the agent's final text of the reply at a turn.

    Args:
        dialog: the conversation.
        turn_index: index in `dialog.turns` of the agent's turn that the reply is for.
        shown: the reply that the agent was shown; may be empty.

    Returns:
        `shown` when it carries every fact of the agent's real turn and nothing unsupported;
        otherwise that turn.

    Raises:
        ValueError: the turn is not the agent's.
    """
    if not 0 <= turn_index < len(dialog.turns) or dialog.turns[turn_index].role != "agent":
        raise ValueError(f"turn_index: {turn_index} is not an agent's turn of this conversation")
    final = dialog.turns[turn_index].text
    required = _facts_in(dialog, final)
    if not required:
        return shown if _plain(shown) == _plain(final) else final
    transcript = " ".join(turn.text for turn in dialog.turns[: turn_index + 1])
    return shown if _is_right(shown, required, transcript) else final


def rate(shown: str, final: str) -> float:
    """Rate a shown text as the agent who edited it would.

    Args:
        shown: what the agent was shown.
        final: what the agent made of it.

    Returns:
        Normalized edit similarity, 0 (all rewritten) to 1 (kept), to two decimals.
    """
    return round(Levenshtein.normalized_similarity(shown, final), 2)


def reply_turns(dialog: Dialog) -> list[int]:
    """List the agent's turns for which a suggestion is worth asking.

    Args:
        dialog: the conversation.

    Returns:
        Indexes in `dialog.turns` of the agent's turns that answer a customer and whose
        facts, where known, were all said before: a model can infer them.
    """
    indexes = []
    for index, turn in enumerate(dialog.turns):
        if turn.role != "agent" or index == 0 or dialog.turns[index - 1].role != "customer":
            continue
        before = " ".join(t.text for t in dialog.turns[:index]).lower()
        if all(value.lower() in before for value in _facts_in(dialog, turn.text)):
            indexes.append(index)
    return indexes


def _facts_in(dialog: Dialog, text: str) -> list[str]:
    """The facts' values that a text says; whether the customer bought is said in many ways."""
    return [
        value
        for key, value in dialog.facts.items()
        if key != "bought" and value.lower() in text.lower()
    ]


def _is_right(shown: str, required: list[str], transcript: str) -> bool:
    """Whether a text says all that is required and has no number or name nobody mentioned."""
    spoken = transcript.lower()
    return all(value.lower() in shown.lower() for value in required) and all(
        re.search(rf"\b{re.escape(mark.lower())}\b", spoken) for mark in _MARK.findall(shown)
    )


def _extracted_summary(dialog: Dialog) -> str:
    """A summary from sentences of the conversation, for dialogs whose facts nobody wrote down."""
    agent = _sentences(dialog, "agent")
    customer = _sentences(dialog, "customer")
    about = next((s for s in customer if len(s.split()) > 3 and not _GREETING.match(s)), None)
    about = about or next((s for s in customer if len(s.split()) > 3), "not stated")
    if dialog.lob == "sales":
        offer = next((s for s in agent if _OFFER.search(s) and not s.endswith("?")), "none")
        bought = "yes" if any(_BOUGHT.search(s) for s in customer) else "no"
        return f"Promotion offered: {_short(offer)}. Bought: {bought}. Asked: {_short(about)}."
    steps = [s for s in agent if _STEP.search(s) and not s.endswith("?")]
    return f"Case: {_short(about)}. We owe: {_short(steps[-1]) if steps else 'nothing'}."


def _sentences(dialog: Dialog, role: str) -> list[str]:
    return [
        sentence
        for turn in dialog.turns
        if turn.role == role
        for sentence in _SENTENCE.split(turn.text)
    ]


def _short(text: str) -> str:
    words = text.strip().rstrip(".!?")
    return words if len(words) <= _LONGEST else words[:_LONGEST].rsplit(" ", 1)[0] + "…"


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()
