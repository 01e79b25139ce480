import json
from pathlib import Path

import pytest

from tests.training.records import drawn, labelled
from training.data import dataset, export
from training.data.curation import curate
from training.data.dataset import Dataset
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

RULES = CurationConfig(min_examples=2, min_conversations=3, min_holdout=2, golden_share=0)
COLUMNS = {
    "sft": {"prompt", "completion"},
    "preference": {"prompt", "chosen", "rejected"},
    "kto": {"prompt", "completion", "label"},
}


@pytest.fixture
def built(tmp_path: Path) -> Dataset:
    items = [
        labelled(
            f"i{n}",
            {"edit": f"é {n}"},
            created_at=float(n),
            conversation_id=drawn(n >= 4, n),
        )
        for n in range(6)
    ]
    items.append(
        labelled("bad", {"rejected": True}, created_at=0.5, conversation_id=drawn(False, 7))
    )
    return dataset.write("care", curate("care", items, RULES), RULES, tmp_path / "datasets")


@pytest.mark.parametrize(("form", "count"), [("sft", 4), ("preference", 4), ("kto", 9)])
def test_rows_have_trls_columns_and_no_others(
    built: Dataset, tmp_path: Path, form: export.Format, count: int
) -> None:
    file = tmp_path / "new" / f"{form}.jsonl"
    assert export.write(built, form, "train", file) == count
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == count
    assert all(row.keys() == COLUMNS[form] for row in rows)


@pytest.mark.parametrize("form", ["sft", "preference", "kto"])
def test_trl_knows_each_format_for_what_it_is(built: Dataset, form: export.Format) -> None:
    from trl import is_conversational

    row = export.rows(built, form, "train")[0]
    assert is_conversational(row)


def test_a_folder_is_what_hugging_face_datasets_loads(built: Dataset, tmp_path: Path) -> None:
    import datasets

    export.write(built, "preference", "train", tmp_path / "hf")
    loaded = datasets.load_from_disk(str(tmp_path / "hf"))
    assert loaded.to_list() == export.rows(built, "preference", "train")


def test_the_hold_out_is_exported_only_on_request(built: Dataset) -> None:
    answers = [
        {row["completion"][0]["content"] for row in export.rows(built, "sft", split)}
        for split in ("train", "rolling")
    ]
    assert answers == [{"é 0", "é 1", "é 2", "é 3"}, {"é 4", "é 5"}]


def test_nothing_is_overwritten_and_nothing_empty_is_written(
    built: Dataset, tmp_path: Path
) -> None:
    export.write(built, "sft", "train", tmp_path / "x.jsonl")
    with pytest.raises(DatasetError, match="exists already"):
        export.write(built, "sft", "train", tmp_path / "x.jsonl")
    with pytest.raises(DatasetError, match="has no sft rows in its golden split"):
        export.write(built, "sft", "golden", tmp_path / "y.jsonl")
