"""The benchmark on judged summaries: how it reads people's marks, and what it counts."""

import json
from pathlib import Path

import summaries


def written(folder: Path, rows: list[tuple[str, str, list[int]]]) -> Path:
    """A file as DialSummEval's, of a dialog about fifty dollars."""
    talk = "| Ann: The fee is $50. | Bob: Ok, on Friday then."
    lines = [
        {
            "id": dialog,
            "dialogue": talk,
            "summary": said,
            "annotations": [{"consistency": mark} for mark in marks],
            "model_id": "A",
        }
        for dialog, said, marks in rows
    ]
    file = folder / summaries.FILE
    file.parent.mkdir()
    file.write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_the_median_of_three_decides_and_clear_cases_are_counted_apart(tmp_path: Path) -> None:
    rows = [
        ("1", "Ann says that the fee is $50.", [5, 5, 2]),
        ("3", "Ann says that the fee is $70.", [1, 2, 5]),
        ("2", "Bob pays $80 on Friday.", [4, 4, 4]),
        ("2", "Bob is happy.", [3, 3, 5]),
    ]
    read = summaries.read(written(tmp_path, rows))
    assert [one.consistency for one in read] == [5, 2, 4, 3]
    assert read[0].turns == ("Ann: The fee is $50.", "Bob: Ok, on Friday then.")
    found = summaries.measure(read)
    assert found["dialogs"] == 3
    every, clear = found["all"], found["clear"]
    assert (every["inconsistent_flagged"]["rate"], every["consistent_flagged"]["rate"]) == (
        0.5,
        0.5,
    )
    assert every["kinds_of_inconsistent"] == every["kinds_of_consistent"] == {"amount": 1}
    assert clear["inconsistent_flagged"]["trials"] == clear["consistent_flagged"]["trials"] == 1
    assert 0 <= every["balanced_accuracy"]["low"] <= every["balanced_accuracy"]["high"] <= 1
