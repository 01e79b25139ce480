"""Length-varied dialogs as training examples: ABCD's where they are at hand, else the demo's."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.demo.corpus import generic_summary, render_prompt
from training.demo.dialog_files import Dialog, read_dialogs
from training.demo.dialogs import LOBS, make_dialogs

ABCD = ("abcd_v1.1.json", "abcd_sample.json")
Row = dict[str, list[dict[str, str]]]


def examples(source: Path | None, count: int, seed: int) -> tuple[list[Row], str]:
    """Return `count` examples in TRL's prompt-completion form, and where they come from.

    Each turn of an agent is one, given all turns before it, and each summary.

    Args:
        source: A file of dialogs or a folder with ABCD's; None takes the demo's generated ones.
        count: How many, chosen at random; fewer where there are fewer.
        seed: Of the choice.
    """
    rng = random.Random(seed)
    if source is None:
        each = -(-count // len(LOBS))
        dialogs = [d for lob in LOBS for d in make_dialogs(lob, each, seed=seed)]
        name = "the demo's generated dialogs"
    else:
        file = next((source / n for n in ABCD if (source / n).is_file()), source)
        dialogs, name = read_dialogs(file), file.name
    rows = [row for dialog in dialogs for row in _rows(rng, dialog)]
    rng.shuffle(rows)
    return rows[:count], name


def _rows(rng: random.Random, dialog: Dialog) -> list[Row]:
    found = [
        ("suggestion", number, turn.text)
        for number, turn in enumerate(dialog.turns)
        if number and turn.role == "agent"
    ]
    summary = dialog.final_summary or (generic_summary(rng, dialog) if dialog.facts else None)
    if summary:
        found.append(("summary", len(dialog.turns), summary))
    return [
        {
            "prompt": render_prompt(task, dialog.turns[:until], {}),
            "completion": [{"role": "assistant", "content": text}],
        }
        for task, until, text in found
    ]


def write(rows: Sequence[Row], file: Path) -> None:
    """Write the examples as a dataset's train.jsonl."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lengths(rows: Sequence[Row], tokenizer: Any, batch_size: int) -> dict[str, float]:
    """Describe the lengths in tokens, and what share of a padded batch is padding."""
    found = [
        len(
            tokenizer.apply_chat_template(r["prompt"] + r["completion"], return_dict=True)[
                "input_ids"
            ]
        )
        for r in rows
    ]
    prompts = [
        len(
            tokenizer.apply_chat_template(
                r["prompt"], add_generation_prompt=True, return_dict=True
            )["input_ids"]
        )
        for r in rows
    ]
    batches = [found[i : i + batch_size] for i in range(0, len(found), batch_size)]
    deciles = statistics.quantiles(found, n=10)
    return {
        "examples": len(found),
        "tokens": sum(found),
        "completion_tokens": sum(found) - sum(prompts),
        "p10": deciles[0],
        "median": statistics.median(found),
        "p90": deciles[-1],
        "max": max(found),
        "padding_share": round(1 - sum(found) / sum(max(b) * len(b) for b in batches), 3),
    }
