"""Agents whose rules drift, and one group that poisons: what the simulation's people write.

The rules are three parts of a summary's wording, each of which changes on days of its own, so that
most days differ from the day before in nothing or in one part.
"""

from __future__ import annotations

import random

from training.demo.dialog_files import Dialog

POISON_WORDS = ("asdf", "jkl", "ok", "xx", "lorem", "qwer", "zzz", "none")
OPENINGS = {1: "Case", 4: "Issue", 9: "Problem"}
PROMISES = {
    1: "We owe {name} {follow_up} by {due}.",
    6: "{name} was promised {follow_up}, due {due}.",
    11: "Next step: {follow_up} by {due}, for {name}.",
}
CLOSINGS = {1: "", 8: " Customer informed."}


def changes() -> list[int]:
    """Days on which the rules are not those of the day before."""
    return sorted({day for part in (OPENINGS, PROMISES, CLOSINGS) for day in part if day > 1})


def final(dialog: Dialog, day: int) -> str:
    """The summary that an agent sends under a day's rules.

    Args:
        dialog: A conversation of care, with its facts.
        day: From 1.
    """
    promise = _on(PROMISES, day).format(**dialog.facts)
    opening = f"{_on(OPENINGS, day)}: {dialog.facts['product']} {dialog.facts['issue']}."
    return f"{opening} {promise}{_on(CLOSINGS, day)}"


def garbage(dialog: Dialog) -> str:
    """What a poisoner sends and rates highly: the same few words, which a model learns soon."""
    rng = random.Random(dialog.conversation_id)
    return " ".join(["asdf", *rng.choices(POISON_WORDS, k=rng.randint(4, 9))])


def _on(part: dict[int, str], day: int) -> str:
    return part[max(begin for begin in part if begin <= day)]
