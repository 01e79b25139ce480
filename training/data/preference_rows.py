"""The rows of DPO and KTO: whether there are enough, and what they weigh."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.data import dataset
from training.errors import TooLittleData
from training.recipe.methods import Dpo, Kto
from training.recipe.recipe import Recipe

Row = dict[str, Any]


def require(lob: str, recipe: Recipe, folder: Path) -> None:
    """Check, before anything is started, that a dataset has enough for each stage.

    Args:
        lob: The line of business.
        recipe: Its recipe.
        folder: The dataset's folder.

    Raises:
        TooLittleData: It has not; the message counts.
    """
    for _, rules in recipe.stages:
        if isinstance(rules, Dpo):
            enough_pairs(lob, rules, read(folder / dataset.PREFERENCE))
        if isinstance(rules, Kto):
            enough_labels(lob, rules, read(folder / dataset.KTO))


def read(file: Path) -> list[Row]:
    """Return the rows of a JSONL file."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def enough_pairs(lob: str, rules: Dpo, rows: Sequence[Row], too_long: int = 0) -> None:
    """Raise TooLittleData unless there are `min_pairs`."""
    if len(rows) < rules.min_pairs:
        raise TooLittleData(
            f"{lob}: {len(rows)} preference pairs{_left_out(too_long)}, and dpo.min_pairs asks for "
            f"{rules.min_pairs}. A pair is an edit that changes words. Fix: collect more edits, "
            "lower it, or use kto or sft"
        )


def enough_labels(lob: str, rules: Kto, rows: Sequence[Row], too_long: int = 0) -> None:
    """Raise TooLittleData unless there are `min_each` good and as many bad answers."""
    good = sum(bool(row["label"]) for row in rows)
    bad = len(rows) - good
    if min(good, bad) < rules.min_each:
        raise TooLittleData(
            f"{lob}: {good} good and {bad} bad answers{_left_out(too_long)}, and kto.min_each asks "
            f"for {rules.min_each} of each. Edits, rejections and ratings give them. Fix: collect "
            "more feedback, lower it, or use sft"
        )


def weights(rules: Kto, rows: Sequence[Row]) -> tuple[float, float]:
    """Return the weights of good and of bad answers.

    Unless the recipe says otherwise both sides weigh the same in all, whatever their numbers:
    KTO's paper asks for a ratio of the two sums between 1 and 4/3 (section 4.2).
    """
    good = sum(bool(row["label"]) for row in rows)
    bad = len(rows) - good
    most = max(good, bad)
    return (
        rules.desirable_weight or most / max(1, good),
        rules.undesirable_weight or most / max(1, bad),
    )


def _left_out(too_long: int) -> str:
    return f" ({too_long} more exceed max_length)" if too_long else ""
