"""Feedback as preferences: pairs for DPO, single labelled answers for KTO.

A pair is an edit that changed words: the shown text is rejected, the edited one chosen. A change
of case, punctuation or spacing is cosmetic and prefers nothing. KTO (Ethayarajh et al. 2024)
needs no pairs: what was kept, used, rated highly or written by an agent is desirable; what was
rejected, badly rated or edited in its words is not.

Rows are TRL's conversational formats, with the interaction's id beside them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from training.data.examples import TARGETS, Example, Message

Row = dict[str, Any]
_WORD = re.compile(r"\w+|[%$€£¥°+<>=/-]")


def is_cosmetic(shown: str, edited: str) -> bool:
    """Say whether an edit changed no word, number or unit."""
    return _WORD.findall(shown.casefold()) == _WORD.findall(edited.casefold())


def pairs(examples: Iterable[Example]) -> list[Row]:
    """Return a preference pair for each edit that is more than cosmetic, each pair once."""
    rows: dict[tuple[tuple[Message, ...], str, str], Row] = {}
    for example in examples:
        if _is_pair(example):
            key = example.messages, example.target, example.shown
            row = {
                "prompt": prompt(example),
                "chosen": answer(example.target),
                "rejected": answer(example.shown),
            }
            rows.setdefault(key, {**row, **_lineage(example)})
    return list(rows.values())


def labels(examples: Iterable[Example]) -> list[Row]:
    """Return KTO examples: one for each text that is known to be good or bad, each once."""
    rows: dict[tuple[tuple[Message, ...], str], Row] = {}
    for example in examples:
        for text, desirable in _judged(example):
            row = {"prompt": prompt(example), "completion": answer(text), "label": desirable}
            rows.setdefault((example.messages, text), {**row, **_lineage(example)})
    return list(rows.values())


def without_contradictions(examples: Sequence[Example]) -> list[Example]:
    """Drop every example that calls a text good that another calls bad, and that other.

    The same text is meant: the same answer to the same prompt.
    """
    said: defaultdict[tuple[tuple[Message, ...], str], set[bool]] = defaultdict(set)
    for example in examples:
        for text, desirable in _judged(example):
            said[example.messages, text.strip()].add(desirable)
    return [
        example
        for example in examples
        if all(len(said[example.messages, text.strip()]) == 1 for text, _ in _judged(example))
    ]


def prompt(example: Example) -> list[Row]:
    """Return an example's messages as TRL takes them."""
    return [{"role": m.role, "content": m.content} for m in example.messages]


def answer(text: str) -> list[Row]:
    """Return an answer as TRL takes it."""
    return [{"role": "assistant", "content": text}]


def _is_pair(example: Example) -> bool:
    return (
        example.source == "edit"
        and bool(example.shown.strip())
        and not is_cosmetic(example.shown, example.target)
    )


def _judged(example: Example) -> list[tuple[str, bool]]:
    """Return the texts that an example judges, with whether each is desirable."""
    judged = [(example.target, example.source in TARGETS)]
    if _is_pair(example):
        judged.append((example.shown, False))
    return judged


def _lineage(example: Example) -> Row:
    return {
        "interaction_id": example.interaction_id,
        "conversation_id": example.conversation_id,
        "source": example.source,
        **({"chat_template_kwargs": own} if (own := example.chat_template_kwargs) else {}),
    }
