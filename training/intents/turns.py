"""What the customer said: the turns as they are stored, else read back from a stored prompt.

Interactions of earlier releases hold what a model was asked, not the conversation that a client
sent. The prompts that come with Switchboard write a turn a line, its role first, and mark the lines
that go on with it (`serving.untrusted_text`); a line's own prompt in another form is not read.
"""

import re

from serving.store.candidates import plain
from serving.store.records import InteractionRecord, Task
from serving.untrusted_text import MARK

_TURN = re.compile(r"(?:\d+ )?(customer|agent|knowledge): ?(.*)", re.IGNORECASE)
_OF_TURNS = frozenset({Task.SUGGESTION, Task.SUMMARY, Task.INSIGHT})


def customers(interaction: InteractionRecord) -> list[str]:
    """Return the customer's turns, in order; none where they cannot be told."""
    said = [plain(m.get("content")) for m in interaction.messages if m.get("role") == "user"]
    if interaction.task is Task.CHAT:
        return [text for text in said if text.strip()]
    goes_on = (interaction.request.get("previous") or {}).get("turns")  # the first turns are away
    if goes_on or interaction.task not in _OF_TURNS:
        return []
    stored = interaction.request.get("conversation")
    if isinstance(stored, list):
        texts = [turn["text"] for turn in stored if turn["role"] == "customer"]
        return [text for text in texts if text.strip()]
    return _turns("\n".join(said[-1:]))


def _turns(prompt: str) -> list[str]:
    found: list[tuple[str, list[str]]] = []
    for line in prompt.split("\n"):
        if (turn := _TURN.fullmatch(line)) is not None:
            found.append((turn[1].casefold(), [turn[2]]))
        elif found and line.startswith(MARK):
            found[-1][1].append(line.removeprefix(MARK))
        elif not line.strip() and found:
            found.append(("", []))
    return ["\n".join(lines) for role, lines in found if role == "customer" and lines[0].strip()]
