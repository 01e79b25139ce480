"""STAR's replies as examples: each is what an agent sent, in the form in which a server is asked.

A picked suggestion and words of one's own are both what the agent wanted to send, so both are
targets. What was offered beside them is known by label only and says nothing to learn from.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.config.prompts import Prompt, Turn
from training.data.curation import Curated, choose
from training.data.examples import Example, Message
from training.data.formats import star
from training.data.formats.star import StarDialog
from training.data.splits import Past
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

_DIGITS = 12


class Renderer:
    """Makes a conversation into chat messages, as the server does for `POST /v1/suggestions`.

    Args:
        lob: The line of business.
        prompt: Its prompt for suggestions.
        description: Its description.
        guidelines: Its guidelines.
    """

    def __init__(self, lob: str, prompt: Prompt, description: str = "", guidelines: str = ""):
        self._lob = lob
        self._prompt = prompt
        self._texts = {"description": description, "guidelines": guidelines}

    def __call__(self, turns: Sequence[Turn]) -> tuple[Message, ...]:
        """Return the chat messages that ask for the reply after these turns."""
        rendered = self._prompt.render(
            lob=self._lob, task="suggestion", turns=turns, fields={}, **self._texts
        )
        return tuple(Message(m["role"], m["content"]) for m in rendered)


def examples(dialog: StarDialog, render: Renderer, file: str = "") -> list[Example]:
    """Return an example for each reply to something; an opening without a turn before has none.

    Args:
        dialog: The dialog.
        render: Makes the turns before a reply into messages.
        file: Names the file in the examples' ids.
    """
    agent = hashlib.sha256(f"star/{dialog.agent}".encode()).hexdigest()[:_DIGITS]
    return [
        Example(
            interaction_id=f"import-{file}-{dialog.conversation_id}-{reply.turn}",
            conversation_id=f"import-{file}-{dialog.conversation_id}",
            created_at=reply.at,
            task="suggestion",
            turn_position=reply.turn,
            version=None,
            source="rating",
            messages=render(dialog.turns[: reply.turn]),
            shown=reply.text,
            target=reply.text,
            agent=agent,
        )
        for reply in dialog.replies
        if reply.turn and reply.text.strip()
    ]


def read(
    lob: str,
    file: Path,
    domains: frozenset[str],
    render: Renderer,
    rules: CurationConfig,
    past: Past,
) -> tuple[Curated, dict[str, Any]]:
    """Read the dialogs about these domains, redact, deduplicate and split them by time.

    Args:
        lob: The line of business.
        file: STAR's file, plain or gzip.
        domains: What a dialog may be about, and nothing else.
        render: The line's prompt.
        rules: The recipe's section.
        past: The line's frozen golden set, if it has one.

    Returns:
        The examples, and what the manifest says of the file.

    Raises:
        DatasetError: A line is no dialog, or no dialog is about these domains alone.
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    sha256 = star.digest(file)
    found: list[Example] = []
    begins: dict[str, float] = {}
    known: set[str] = set()
    for dialog in star.read(file):
        known |= dialog.domains
        if dialog.about(domains):
            for one in examples(dialog, render, sha256[:_DIGITS]):
                begins.setdefault(one.conversation_id, one.created_at)
                found.append(one)
    if not found:
        raise DatasetError(
            f"{file}: no dialog is about {' or '.join(sorted(domains))} alone. Fix: name its "
            f"domains with --domain; they are: {', '.join(sorted(known))}"
        )
    source = {"file": {"sha256": sha256}, "format": "star", "domains": sorted(domains)}
    return choose(lob, found, begins, rules, past, complete=True), source
