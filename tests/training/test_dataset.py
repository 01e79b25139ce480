import hashlib
import json
from pathlib import Path

import pytest

from tests.training.records import labelled
from training import dataset
from training.curation import Curated, curate
from training.settings import Curation

RULES = Curation(min_examples=2, min_conversations=3, min_holdout=2)


@pytest.fixture
def curated() -> Curated:
    items = [labelled(f"i{n}", {"edit": f"é {n}"}, created_at=float(n)) for n in range(6)]
    return curate("care", [*items, labelled("bad", {"rating": 0.1})], RULES)


def test_rows_are_trl_prompt_and_completion_messages(curated: Curated, tmp_path: Path) -> None:
    built = dataset.build("care", curated, RULES, tmp_path)
    lines = (built.folder / "train.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    assert len(lines) == 4
    assert row["prompt"] == [{"role": "user", "content": "conversation i0"}]
    assert row["completion"] == [{"role": "assistant", "content": "é 0"}]
    assert row["interaction_id"] == "i0"


def test_the_same_examples_give_the_same_bytes(curated: Curated, tmp_path: Path) -> None:
    first, again = (dataset.build("care", curated, RULES, tmp_path / n) for n in ("a", "b"))
    assert first.id == again.id
    for name in ("train.jsonl", "holdout.jsonl", "manifest.json"):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_building_twice_in_one_place_changes_nothing(curated: Curated, tmp_path: Path) -> None:
    first = dataset.build("care", curated, RULES, tmp_path)
    assert dataset.build("care", curated, RULES, tmp_path) == first
    assert [p.name for p in tmp_path.iterdir()] == [f"care-{first.id[:16]}"]


def test_the_manifest_has_hashes_rows_and_counts_by_filter(
    curated: Curated, tmp_path: Path
) -> None:
    built = dataset.build("care", curated, RULES, tmp_path)
    manifest = json.loads((built.folder / "manifest.json").read_text())
    assert manifest == built.manifest
    assert hashlib.sha256((built.folder / "manifest.json").read_bytes()).hexdigest() == built.id
    for name, file in manifest["files"].items():
        assert hashlib.sha256((built.folder / name).read_bytes()).hexdigest() == file["sha256"]
    assert manifest["files"]["holdout.jsonl"]["rows"] == ["i4", "i5"]
    assert {"name": "distinct", "kept": 6, "dropped": 0} in manifest["filters"]
    assert {"name": "edited or rated 0.8 or higher", "kept": 6, "dropped": 1} in manifest["filters"]


def test_other_rules_make_another_dataset(curated: Curated, tmp_path: Path) -> None:
    other = RULES.model_copy(update={"rating_at_least": 0.5})
    ids = {dataset.build("care", curated, rules, tmp_path).id for rules in (RULES, other)}
    assert len(ids) == 2


def test_a_failed_write_leaves_nothing(
    curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.dataset.os.rename", full)
    with pytest.raises(OSError, match="No space"):
        dataset.build("care", curated, RULES, tmp_path)
    assert list(tmp_path.iterdir()) == []
