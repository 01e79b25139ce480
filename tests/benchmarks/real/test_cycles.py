from pathlib import Path

import cycles
import pytest

from tests.training.data.formats.dialogs import dialog, write
from training.data.formats import star


def test_the_parts_follow_each_other_in_time(tmp_path: Path) -> None:
    given = list(star.read(write(tmp_path / "s.jsonl", [dialog(n) for n in range(10, 0, -1)])))
    parts = cycles.by_time(given, 3)
    assert [[d.id for d in part] for part in parts] == [[1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize(
    ("accepted", "low", "high", "says"),
    [
        (True, 0.01, 0.2, "yes"),
        (False, 0.01, 0.2, "no"),
        (True, -0.2, -0.01, "no"),
        (False, -0.2, -0.01, "yes"),
        (True, -0.1, 0.1, "the truth shows nothing"),
    ],
)
def test_the_gate_agrees_where_the_truth_shows_what_it_said(
    accepted: bool, low: float, high: float, says: str
) -> None:
    assert cycles.agrees(accepted, low, high) == says
