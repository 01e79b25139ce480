import json
from pathlib import Path

import results

ROW = {
    "round": 0,
    "turn": 3,
    "target": "vllm",
    "workload": "suggest",
    "concurrency": 8,
    "requests": 24,
    "commit": "abc",
    "time": "2026-11-23T17:09:18Z",
}


def row(**changes: object) -> dict[str, object]:
    numbers = {column: 1.5 for column in results.COLUMNS if column not in ROW}
    return ROW | numbers | changes


def test_a_table_reads_back_as_it_was_written(tmp_path: Path):
    rows = [row(), row(round=1, requests_per_s=20.25, target="litellm")]
    results.write_table(tmp_path / "serving.csv", rows)
    assert results.read_table(tmp_path / "serving.csv") == rows


def test_a_missing_table_has_no_rows(tmp_path: Path):
    assert results.read_table(tmp_path / "serving.csv") == []


def test_earlier_results_stay_beside_the_newest_under_their_own_date(tmp_path: Path):
    file = tmp_path / "serving.json"
    for number, date in enumerate(["2026-11-23", "2026-11-23", "2026-12-01", "2026-12-02"]):
        results.write_json(file, {"time": f"{date}T10:00:00Z", "number": number, "runs": []})
    kept = {path.name: json.loads(path.read_text())["number"] for path in tmp_path.iterdir()}
    assert kept == {
        "serving-2026-11-23.json": 0,
        "serving-2026-11-23-2.json": 1,
        "serving-2026-12-01.json": 2,
        "serving.json": 3,
    }


def test_json_holds_a_run_a_line(tmp_path: Path):
    file = tmp_path / "serving.json"
    results.write_json(file, {"time": "2026-11-23", "runs": [row(), row(round=1)]})
    assert json.loads(file.read_text())["runs"] == [row(), row(round=1)]
    assert len([text for text in file.read_text().splitlines() if '"round"' in text]) == 2
