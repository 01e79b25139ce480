"""Slots of responses, such as {customer_name}: filled by the request, or by what was said.

The rules for what was said are few and plain; a slot that nothing fills stays in the text and is
named, so that the agent fills it.
"""

import re
from collections.abc import Mapping, Sequence

from serving.config.prompts import Turn

SLOT = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}")
_NAME = r"([A-Z][\w'’-]+(?: [A-Z][\w'’-]+){0,2})"  # noqa: RUF001 - as people type it
_OWN_NAME = re.compile(rf"\b(?i:my name is|my name's|this is|i am called) {_NAME}")
_ORDER = re.compile(
    r"\border(?: number| no\.?| id)?(?: is|:)? ?#? ?([A-Z0-9-]*\d[A-Z0-9-]{2,})\b", re.IGNORECASE
)
_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")


def said_in(turns: Sequence[Turn]) -> dict[str, str]:
    """Return the slots that a conversation fills; what was said later goes before.

    There are `customer_name` and `agent_name` (who says "my name is …"), and of the customer
    `order_number` and `email`.
    """
    found: dict[str, str] = {}
    for turn in turns:
        if turn.role == "knowledge":
            continue
        if name := _OWN_NAME.search(turn.text):
            found[f"{turn.role}_name"] = name[1]
        if turn.role == "customer":
            if order := _ORDER.search(turn.text):
                found["order_number"] = order[1]
            if email := _EMAIL.search(turn.text):
                found["email"] = email[0]
    return found


def filled(text: str, values: Mapping[str, str]) -> tuple[str, list[str]]:
    """Fill a text's slots.

    Args:
        text: With slots in braces.
        values: By slot.

    Returns:
        The text, and the slots that stay in it, each once.
    """
    missing = [name for name in dict.fromkeys(SLOT.findall(text)) if name not in values]
    return SLOT.sub(lambda found: values.get(found[1], found[0]), text), missing
