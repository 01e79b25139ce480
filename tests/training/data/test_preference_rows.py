import json
from pathlib import Path

import pytest

from training.data import preference_rows
from training.errors import TooLittleData
from training.recipe.recipe import Kto, Recipe


def write(folder: Path, pairs: int, good: int, bad: int) -> Path:
    (folder / "preference.jsonl").write_text("{}\n" * pairs)
    labels = [True] * good + [False] * bad
    (folder / "kto.jsonl").write_text("".join(json.dumps({"label": x}) + "\n" for x in labels))
    return folder


@pytest.mark.parametrize("method", ["dpo", "sft_dpo"])
def test_too_few_pairs_are_counted(tmp_path: Path, method: str) -> None:
    folder = write(tmp_path, 19, 0, 0)
    recipe = Recipe.model_validate({"method": method})
    with pytest.raises(TooLittleData, match=r"care: 19 preference pairs, and dpo\.min_pairs asks"):
        preference_rows.require("care", recipe, folder)
    preference_rows.require("care", recipe, write(tmp_path, 20, 0, 0))


@pytest.mark.parametrize(("good", "bad"), [(9, 30), (30, 9)])
def test_too_few_answers_of_either_kind_are_counted(tmp_path: Path, good: int, bad: int) -> None:
    recipe = Recipe.model_validate({"method": "kto"})
    with pytest.raises(TooLittleData, match=rf"{good} good and {bad} bad answers, and kto"):
        preference_rows.require("care", recipe, write(tmp_path, 0, good, bad))
    preference_rows.require("care", recipe, write(tmp_path, 0, 10, 10))


def test_sft_needs_neither(tmp_path: Path) -> None:
    preference_rows.require("care", Recipe(), tmp_path)


def test_the_rarer_side_is_weighed_up_unless_the_recipe_says_otherwise() -> None:
    rows = [{"label": True}] * 8 + [{"label": False}] * 2
    assert preference_rows.weights(Kto(), rows) == (1, 4)
    assert preference_rows.weights(Kto(undesirable_weight=1.5), rows) == (1, 1.5)
