"""A dataset for other tools: TRL's formats alone, as JSON Lines or a Hugging Face folder."""

from pathlib import Path
from typing import Any, Literal

from training.data import preferences
from training.data.dataset import Dataset
from training.data.streaming.example_lines import lines
from training.errors import DatasetError

Format = Literal["sft", "preference", "kto"]
Split = Literal["train", "rolling", "golden"]

_COLUMNS = {
    "sft": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
}


def rows(built: Dataset, form: Format, split: Split) -> list[dict[str, Any]]:
    """Return a split's rows in one of TRL's conversational formats, without lineage.

    Args:
        built: The dataset.
        form: sft: prompt and completion; preference: prompt, chosen, rejected; kto: prompt,
            completion, label.
        split: Which part of it.
    """
    examples = {"train": built.train, "rolling": built.rolling, "golden": built.golden}[split]
    if form == "sft":
        return [
            {"prompt": preferences.prompt(e), "completion": preferences.answer(e.target)}
            for e in examples
        ]
    if form == "preference":
        found = list(preferences.pairs(examples))
    else:
        more = built.labels if split == "train" else ()
        found = list(preferences.labels((*examples, *more)))
    return [{key: row[key] for key in _COLUMNS[form]} for row in found]


def write(built: Dataset, form: Format, split: Split, to: Path) -> int:
    """Write a split to a new file (`.jsonl`), or a new folder for `datasets.load_from_disk`.

    Returns:
        How many rows.

    Raises:
        DatasetError: The target exists, or there is nothing to write.
    """
    found = rows(built, form, split)
    if not found:
        raise DatasetError(f"dataset {built.id[:16]} has no {form} rows in its {split} split")
    if to.exists():
        raise DatasetError(f"{to}: exists already. Fix: remove it, or give another path")
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.suffix == ".jsonl":
        to.write_bytes(lines(found))
        return len(found)
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_list(found).save_to_disk(str(to))
    return len(found)
