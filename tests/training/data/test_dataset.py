import hashlib
import json
from pathlib import Path

import pytest

from tests.training.records import drawn, labelled
from training.data import dataset
from training.data.curation import Curated, curate
from training.data.streaming.sources import SourceLog
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

RULES = CurationConfig(min_examples=2, min_conversations=3, min_holdout=2, golden_share=0)


@pytest.fixture
def curated() -> Curated:
    items = [
        labelled(
            f"i{n}",
            {"edit": f"é {n}"},
            created_at=float(n),
            conversation_id=drawn(n >= 4, n),
        )
        for n in range(6)
    ]
    return curate("care", [*items, labelled("bad", {"rating": 0.5})], RULES)


def test_rows_are_trl_prompt_and_completion_messages(curated: Curated, tmp_path: Path) -> None:
    built = dataset.write("care", curated, RULES, tmp_path)
    lines = (built.folder / "train.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    assert len(lines) == 4
    assert row["prompt"] == [{"role": "user", "content": "conversation i0"}]
    assert row["completion"] == [{"role": "assistant", "content": "é 0"}]
    assert row["interaction_id"] == "i0"


def test_the_same_examples_give_the_same_bytes(curated: Curated, tmp_path: Path) -> None:
    first, again = (dataset.write("care", curated, RULES, tmp_path / n) for n in ("a", "b"))
    assert first.id == again.id
    for name in (*dataset.FILES, "manifest.json"):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_building_twice_in_one_place_changes_nothing(curated: Curated, tmp_path: Path) -> None:
    first = dataset.write("care", curated, RULES, tmp_path)
    assert dataset.write("care", curated, RULES, tmp_path) == first
    assert [p.name for p in tmp_path.iterdir()] == [f"care-{first.id[:16]}"]


def test_the_manifest_has_hashes_rows_and_counts_by_filter(
    curated: Curated, tmp_path: Path
) -> None:
    built = dataset.write("care", curated, RULES, tmp_path)
    manifest = json.loads((built.folder / "manifest.json").read_text())
    assert manifest == built.manifest
    assert hashlib.sha256((built.folder / "manifest.json").read_bytes()).hexdigest() == built.id
    for name, file in manifest["files"].items():
        assert hashlib.sha256((built.folder / name).read_bytes()).hexdigest() == file["sha256"]
    assert manifest["files"]["rolling.jsonl"]["rows"] == ["i4", "i5"]
    assert {"name": "distinct", "kept": 4, "dropped": 0} in manifest["filters"]
    assert {"name": "judged good or bad", "kept": 6, "dropped": 1} in manifest["filters"]


def test_other_rules_make_another_dataset(curated: Curated, tmp_path: Path) -> None:
    other = RULES.model_copy(update={"rating_at_least": 0.5})
    ids = {dataset.write("care", curated, rules, tmp_path).id for rules in (RULES, other)}
    assert len(ids) == 2


def test_a_failed_write_leaves_nothing(
    curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.data.dataset.os.rename", full)
    with pytest.raises(OSError, match="No space"):
        dataset.write("care", curated, RULES, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_reads_back_as_it_was_built(curated: Curated, tmp_path: Path) -> None:
    built = dataset.write("care", curated, RULES, tmp_path)
    assert dataset.read(built.folder) == built


def test_a_changed_or_missing_file_is_named(curated: Curated, tmp_path: Path) -> None:
    built = dataset.write("care", curated, RULES, tmp_path)
    (built.folder / "train.jsonl").write_text("{}\n")
    with pytest.raises(DatasetError, match=r"train\.jsonl: changed since it was written"):
        dataset.read(built.folder)
    (built.folder / "train.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"train\.jsonl: cannot be read"):
        dataset.read(built.folder)


def test_another_format_is_refused(curated: Curated, tmp_path: Path) -> None:
    built = dataset.write("care", curated, RULES, tmp_path)
    (built.folder / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(DatasetError, match="format 1; this version reads 2"):
        dataset.read(built.folder)


def test_a_request_s_template_variables_lie_in_its_rows_and_in_no_others(tmp_path: Path) -> None:
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    items = [
        labelled(
            f"i{n}",
            {"edit": f"é {n}"},
            created_at=float(n),
            request=quiet if n else {},
            conversation_id=drawn(n >= 4, n),
        )
        for n in range(6)
    ]
    built = dataset.write("care", curate("care", items, RULES), RULES, tmp_path)
    for name in ("train.jsonl", "preference.jsonl", "kto.jsonl"):
        rows = [json.loads(line) for line in (built.folder / name).read_text().splitlines()]
        for row in rows:
            own = quiet if row["interaction_id"] != "i0" else {}
            assert {key: row[key] for key in row if key == "chat_template_kwargs"} == own
    assert dataset.read(built.folder) == built


def test_rows_of_a_log_lie_in_a_file_beside_a_short_manifest(
    curated: Curated, tmp_path: Path
) -> None:
    with SourceLog(tmp_path / "a") as log:
        log.add(labelled("i0", {"edit": "é"}))
        built = dataset.write("care", curated, RULES, tmp_path / "a", log)
    of = built.manifest["sources"]
    file = built.folder / of["file"]
    assert (of["rows"], of["sha256"]) == (1, hashlib.sha256(file.read_bytes()).hexdigest())
    assert json.loads(file.read_text())["id"] == "i0"
    assert "rows" not in built.manifest["files"]["train.jsonl"]
    assert built.manifest["files"]["rolling.jsonl"]["rows"] == ["i4", "i5"]
    assert dataset.read(built.folder) == built
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [built.folder.name]
    file.write_text("{}\n")
    with pytest.raises(DatasetError, match=r"sources\.jsonl: changed since it was written"):
        dataset.read(built.folder)


def test_preference_and_kto_rows_lie_beside_the_targets(curated: Curated, tmp_path: Path) -> None:
    built = dataset.write("care", curated, RULES, tmp_path)
    pair, *others = map(json.loads, (built.folder / "preference.jsonl").read_text().splitlines())
    assert pair["chosen"] == [{"role": "assistant", "content": "é 0"}]
    assert pair["rejected"] == [{"role": "assistant", "content": "shown i0"}]
    assert len(others) == 3
    kto = [json.loads(line) for line in (built.folder / "kto.jsonl").read_text().splitlines()]
    assert [row["label"] for row in kto] == [True, False] * 4
