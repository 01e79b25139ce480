"""The text that the demo's base model is made from: plain contact-center work, no house rules.

Generic conversations of every line of business, each with one of three jobs: the agent's next
reply, a plain summary, or some of the facts as JSON. None holds a line's own wording, so the base
is an honest generalist: it reads the conversations and copies what was said, and does not know
what care or sales require of a text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving import untrusted_text
from training.demo.dialog_files import Dialog, Turn
from training.demo.dialogs import LOBS, make_dialogs

PROMPTS = Path(__file__).resolve().parents[2] / "configs" / "prompts" / "default"

Messages = list[dict[str, str]]
Render = Callable[[str, Sequence[Turn], Mapping[str, str]], Messages]
"""Renders (task, turns, fields) to chat messages; serving's own renderer fits when bound."""


class Example(NamedTuple):
    """One piece of work: chat messages in, text out."""

    messages: Messages
    completion: str


def render_prompt(task: str, turns: Sequence[Turn], fields: Mapping[str, str]) -> Messages:
    """Render a task's default prompt to chat messages.

    Args:
        task: `suggestion` or `summary`, the stem of a file in `configs/prompts/default`.
        turns: the conversation so far.
        fields: name to description of each field of a structured answer; empty for free text.

    Returns:
        The non-empty blocks among `system` and `user`, stripped, in that order.
    """
    template = _environment().get_template(f"{task}.jinja")
    marked = [t.model_copy(update={"text": untrusted_text.continued(t.text)}) for t in turns]
    context = template.new_context(
        {"turns": marked, "lob": "", "task": task, "fields": fields, "previous": ""}
    )
    blocks = {name: "".join(block(context)).strip() for name, block in template.blocks.items()}
    return [
        {"role": role, "content": blocks[role]} for role in ("system", "user") if blocks.get(role)
    ]


def make_corpus(count: int, *, seed: int, render: Render = render_prompt) -> list[Example]:
    """Make the base model's training examples.

    Args:
        count: how many examples, one a conversation.
        seed: the same seed gives the same examples.
        render: renders a task's prompt.

    Returns:
        The examples, shuffled over the lines of business and the jobs.
    """
    rng = random.Random(f"corpus/{seed}")  # noqa: S311 - a corpus, not secrets
    share = -(-count // len(LOBS))
    dialogs = [d for lob in LOBS for d in make_dialogs(lob, share, seed=seed, manner="generic")]
    rng.shuffle(dialogs)
    return [_example(rng, dialog, render) for dialog in dialogs[:count]]


def generic_summary(rng: random.Random, dialog: Dialog) -> str:
    """Write the plain summary of a generated conversation: its topic, no follow-up, no promotion.

    Args:
        rng: chooses the wording.
        dialog: a generated conversation, with its facts.

    Returns:
        One or two sentences.
    """
    facts = dialog.facts
    if dialog.lob == "care":
        topic = (
            f"The customer {facts['name']} contacted us about a {facts['product']} "
            f"that {facts['issue']}."
        )
    else:
        topic = f"The customer contacted us about a {facts['product']}."
    end = rng.choice(("The agent answered the questions.", "The agent helped the customer."))
    return f"{topic} {end}"


@cache
def _environment() -> Environment:
    # The output is text for a model, never HTML.
    return Environment(
        loader=FileSystemLoader(PROMPTS),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _example(rng: random.Random, dialog: Dialog, render: Render) -> Example:
    job = rng.random()
    if job < 0.5:
        index = rng.choice([i for i, t in enumerate(dialog.turns) if t.role == "agent" and i])
        prompt = render("suggestion", dialog.turns[:index], {})
        return Example(prompt, dialog.turns[index].text)
    if job < 0.8:
        return Example(render("summary", dialog.turns, {}), generic_summary(rng, dialog))
    wanted = [key for key in dialog.facts if key != "order" or rng.random() < 0.2]
    keys = rng.sample(wanted, rng.randint(2, min(4, len(wanted))))
    fields = {key: key.replace("_", " ") for key in keys}
    answer = json.dumps({key: dialog.facts[key] for key in keys})
    return Example(render("summary", dialog.turns, fields), answer)
