"""Feedback as preferences: pairs for DPO, single labelled answers for KTO.

A pair is an edit that changed words: the shown text is rejected, the edited one chosen. A change
of case, punctuation or spacing is cosmetic and prefers nothing. KTO (Ethayarajh et al. 2024)
needs no pairs: what was kept, used, rated highly or written by an agent is desirable; what was
rejected, badly rated or edited in its words is not.

Rows are TRL's conversational formats, with the interaction's id beside them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from training.data.examples import TARGETS, Example

Row = dict[str, Any]
_WORD = re.compile(r"\w+|[%$€£¥°+<>=/-]")


def is_cosmetic(shown: str, edited: str) -> bool:
    """Say whether an edit changed no word, number or unit."""
    return _WORD.findall(shown.casefold()) == _WORD.findall(edited.casefold())


def pairs(examples: Iterable[Example]) -> Iterator[Row]:
    """Yield a preference pair for each edit that is more than cosmetic, each pair once."""
    seen: set[bytes] = set()
    for example in examples:
        if _is_pair(example) and _is_first(seen, example, example.target, example.shown):
            yield {
                "prompt": prompt(example),
                "chosen": answer(example.target),
                "rejected": answer(example.shown),
                **_lineage(example),
            }


def labels(examples: Iterable[Example]) -> Iterator[Row]:
    """Yield KTO examples: one for each text that is known to be good or bad, each once."""
    seen: set[bytes] = set()
    for example in examples:
        for text, desirable in judged(example):
            if _is_first(seen, example, text):
                row = {"prompt": prompt(example), "completion": answer(text), "label": desirable}
                yield {**row, **_lineage(example)}


def _is_first(seen: set[bytes], example: Example, *texts: str) -> bool:
    """Say whether a prompt comes with these texts for the first time; remembers their hash."""
    content = json.dumps([[(m.role, m.content) for m in example.messages], texts])
    digest = hashlib.blake2b(content.encode(), digest_size=16).digest()
    if digest in seen:
        return False
    seen.add(digest)
    return True


def judged(example: Example) -> list[tuple[str, bool]]:
    """Return the texts that an example judges, with whether each is desirable."""
    found = [(example.target, example.source in TARGETS)]
    if _is_pair(example):
        found.append((example.shown, False))
    return found


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


def _lineage(example: Example) -> Row:
    return {
        "interaction_id": example.interaction_id,
        "conversation_id": example.conversation_id,
        "source": example.source,
        **({"chat_template_kwargs": own} if (own := example.chat_template_kwargs) else {}),
    }
